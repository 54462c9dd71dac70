//! A proxy between a program and a server, for what a network does to them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A proxy on a free port of 127.0.0.1; it ends, with its connections, when it goes out of scope.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Passes everything on to `server`, and everything back `delay` later: what a round trip takes.
    ///
    /// # Errors
    ///
    /// Where no port is free.
    pub async fn delaying(server: SocketAddr, delay: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    // Held back by nothing but the delay.
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        pass_on(from_client, to_server, Duration::ZERO),
                        pass_on(from_server, to_client, delay)
                    );
                });
            }
        });
        Ok(Self { address, accepting })
    }

    /// A server's URL, led through this proxy.
    ///
    /// # Panics
    ///
    /// Where it is no URL of a server.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("a server's URL");
        url.set_host(Some("127.0.0.1")).expect("it has a host");
        url.set_port(Some(self.address.port())).expect("it has a port");
        url.into()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Each part is given on when its own time has come, so that parts that came together go together.
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
