//! A proxy between a program and a server that injects network and server faults.
//!
//! [`Proxy::delaying`] is agnostic of the protocol. [`Proxy::faulty`] parses PostgreSQL's protocol
//! and asks a plan for a [`Fault`] for each request. It can also play a server of another version,
//! with [`Played`] answers.

mod delay;
mod fault;
mod frame;
mod link;
mod request;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use fault::{Cut, Fault, Played};
pub use request::{Kind, Request};

use shared::Shared;

/// A proxy on a free port of 127.0.0.1. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Delays everything from the server by `delay`: the round-trip time.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn delaying(server: SocketAddr, delay: Duration) -> std::io::Result<Self> {
        Self::accept(server, move |client, server, _| delay::serve(client, server, delay)).await
    }

    /// Passes everything through until [`arm`](Self::arm)ed.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn faulty(server: SocketAddr) -> std::io::Result<Self> {
        Self::accept(server, link::serve).await
    }

    async fn accept<F>(
        server: SocketAddr,
        serve: impl Fn(TcpStream, TcpStream, Arc<Shared>) -> F + Send + Sync + 'static,
    ) -> std::io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let for_links = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut links = JoinSet::new();
            let serve = Arc::new(serve);
            while let Ok((client, _)) = listener.accept().await {
                while links.try_join_next().is_some() {}
                let (serve, shared) = (Arc::clone(&serve), Arc::clone(&for_links));
                links.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    // No delay but the requested one.
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    serve(client, server, shared).await;
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Calls `plan` for every request from now on, in order.
    pub fn arm(&self, plan: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.shared.plan() = Some(Box::new(plan));
    }

    /// Plays another version from now on, where `play` returns an answer.
    pub fn play(&self, play: impl FnMut(&Request) -> Option<Played> + Send + 'static) {
        *self.shared.play() = Some(Box::new(play));
    }

    /// Closes every connection without a pending request, as a restarting server does.
    pub fn cut_idle(&self) {
        self.shared.cut_idle.send_modify(|times| *times += 1);
    }

    /// Waits for late requests to be delivered, then closes silent connections. After this nothing
    /// is in flight.
    pub async fn settle(&self) {
        let mut late = self.shared.late.subscribe();
        // The sender lives as long as this proxy.
        let _ = late.wait_for(|late| *late == 0).await;
        self.shared.settled.cancel();
    }

    /// A server's URL, through this proxy.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        led_through(self.address, url)
    }
}

/// A server's URL with another address.
pub(crate) fn led_through(address: SocketAddr, url: &str) -> String {
    let mut url = url::Url::parse(url).expect("a server's URL");
    url.set_ip_host(address.ip()).expect("it has a host");
    url.set_port(Some(address.port())).expect("it has a port");
    url.into()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
