//! A web server with one file.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One file, at any path on a free port of 127.0.0.1, until dropped.
#[derive(Debug)]
pub struct WebFile {
    address: SocketAddr,
    reading: Arc<Reading>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Reading {
    text: Vec<u8>,
    /// The number of requests.
    asked: watch::Sender<usize>,
    /// The number of the request to hold.
    held: watch::Sender<Option<usize>>,
}

impl WebFile {
    /// Serves `text`.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(text: impl Into<Vec<u8>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (asked, held) = (watch::Sender::new(0), watch::Sender::new(None));
        let reading = Arc::new(Reading { text: text.into(), asked, held });
        let shared = Arc::clone(&reading);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // Clients may disconnect early.
                tokio::spawn(async move { serve(client, &shared).await.ok() });
            }
        });
        Ok(Self { address, reading, accepting })
    }

    /// A URL with this name.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Holds the `time`-th request from now, from 1, until [`release`](Self::release).
    pub fn hold(&self, time: usize) {
        let asked = *self.reading.asked.borrow();
        self.reading.held.send_replace(Some(asked + time));
    }

    /// Waits until somebody waits.
    pub async fn is_held(&self) {
        let held = *self.reading.held.borrow();
        // The sender lives as long as this file.
        let _ = self.reading.asked.subscribe().wait_for(|asked| Some(*asked) == held).await;
    }

    /// Nobody waits any longer.
    pub fn release(&self) {
        self.reading.held.send_replace(None);
    }
}

impl Drop for WebFile {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, reading: &Reading) -> std::io::Result<()> {
    let (input, mut output) = client.split();
    let mut lines = BufReader::new(input).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reading.text.len()
    );
    if request.starts_with("GET ") {
        let mut time = 0;
        reading.asked.send_modify(|asked| {
            *asked += 1;
            time = *asked;
        });
        let _ = reading.held.subscribe().wait_for(|held| *held != Some(time)).await;
        output.write_all(head.as_bytes()).await?;
        output.write_all(&reading.text).await?;
    } else {
        output.write_all(head.as_bytes()).await?;
    }
    output.shutdown().await
}
