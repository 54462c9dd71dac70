//! A link that delays the server's answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) async fn serve(client: TcpStream, server: TcpStream, delay: Duration) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(pass_on(from_client, to_server, Duration::ZERO), pass_on(from_server, to_client, delay));
}

/// Each chunk is passed on at its own time, so that chunks stay together.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut parts) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((when, part)) = parts.recv().await {
            tokio::time::sleep_until(when).await;
            if to.write_all(&part).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
