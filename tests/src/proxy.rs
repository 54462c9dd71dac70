//! A proxy between a program and a server: what a network, or a failing server, does to them.
//!
//! [`Proxy::delaying`] knows nothing of what passes. [`Proxy::faulty`] reads PostgreSQL's messages, which CockroachDB
//! speaks too, and asks a plan for each request what is to become of it: nothing, or one [`Fault`]. It also plays a server
//! of another version, by what that [`Played`] in the place of the real one. What it leaves to others: whether a fault makes sense where it strikes, and what the program should make of it.

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

/// A proxy on a free port of 127.0.0.1; it ends, with its connections, when it goes out of scope.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Passes everything on to `server`, and everything back `delay` later: what a round trip takes.
    ///
    /// # Errors
    ///
    /// Where no port is free.
    pub async fn delaying(server: SocketAddr, delay: Duration) -> std::io::Result<Self> {
        Self::accept(server, move |client, server, _| delay::serve(client, server, delay)).await
    }

    /// Passes everything on in both directions until a plan says otherwise; see [`arm`](Self::arm).
    ///
    /// # Errors
    ///
    /// Where no port is free.
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
                    // Held back by nothing but what is asked for.
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    serve(client, server, shared).await;
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Asks `plan` about every request from now on, on every connection, in the order in which they come.
    pub fn arm(&self, plan: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.shared.plan() = Some(Box::new(plan));
    }

    /// Answers as a server of another version from now on, wherever `play` says how.
    pub fn play(&self, play: impl FnMut(&Request) -> Option<Played> + Send + 'static) {
        *self.shared.play() = Some(Box::new(play));
    }

    /// Cuts every connection on which no request is under way, as a server does that restarts.
    pub fn cut_idle(&self) {
        self.shared.cut_idle.send_modify(|times| *times += 1);
    }

    /// Waits until what is to be delivered late has been, then closes the connections that had gone silent: all that
    /// was on its way has arrived or never will.
    pub async fn settle(&self) {
        let mut late = self.shared.late.subscribe();
        // Its sender lives as long as this proxy.
        let _ = late.wait_for(|late| *late == 0).await;
        self.shared.settled.cancel();
    }

    /// A server's URL, led through this proxy.
    ///
    /// # Panics
    ///
    /// Where it is no URL of a server.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        led_through(self.address, url)
    }
}

/// A server's URL, led through what listens at an address.
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
