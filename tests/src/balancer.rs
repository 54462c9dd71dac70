//! A TCP load balancer for a cluster, like the HAProxy of `docker-compose.yml`.
//!
//! It polls each node's `/health?ready=1`. A new connection goes to the ready node with the fewest;
//! the connections of a node that fails for two seconds are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::proxy::led_through;

const CHECK_EVERY: Duration = Duration::from_millis(250);

const CHECK_MAX: Duration = Duration::from_secs(1);

/// A node is down after this many failed checks.
const FALL: u32 = 8;

/// The addresses of a node.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// Where it takes sessions.
    pub address: SocketAddr,
    /// Its health endpoint.
    pub health: SocketAddr,
}

/// A balancer on a free port of 127.0.0.1. Dropping it closes its connections.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    nodes: Arc<Vec<Node>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Node {
    backend: Backend,
    connections: AtomicUsize,
    /// Cancels the connections; `None` while the node is down.
    ready: Mutex<Option<CancellationToken>>,
}

impl Balancer {
    /// Starts a balancer. Each node is used once it is ready.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(backends: Vec<Backend>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let nodes: Vec<Node> = backends.into_iter().map(Node::new).collect();
        for node in &nodes {
            node.check(&mut 0).await;
        }
        let nodes = Arc::new(nodes);
        let mut tasks = JoinSet::new();
        for place in 0..nodes.len() {
            let nodes = Arc::clone(&nodes);
            tasks.spawn(async move { nodes[place].watch().await });
        }
        tasks.spawn(accept(listener, Arc::clone(&nodes)));
        Ok(Self { address, nodes, _tasks: tasks })
    }

    /// The index of the node with the most connections.
    #[must_use]
    pub fn busiest(&self) -> usize {
        (0..self.nodes.len()).max_by_key(|place| self.nodes[*place].connections()).expect("there are nodes")
    }

    /// The number of connections per node.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.nodes.iter().map(Node::connections).collect()
    }

    /// A node's URL, through this balancer.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        led_through(self.address, url)
    }
}

async fn accept(listener: TcpListener, nodes: Arc<Vec<Node>>) {
    let mut links = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while links.try_join_next().is_some() {}
        let ready = nodes.iter().enumerate().filter_map(|(place, node)| Some((place, node.ready()?)));
        // No node is ready: closes the client.
        let Some((place, ready)) = ready.min_by_key(|(place, _)| nodes[*place].connections()) else {
            continue;
        };
        nodes[place].connections.fetch_add(1, Ordering::Relaxed);
        let nodes = Arc::clone(&nodes);
        links.spawn(async move {
            tokio::select! {
                () = nodes[place].serve(client) => {}
                () = ready.cancelled() => {}
            }
            nodes[place].connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Node {
    fn new(backend: Backend) -> Self {
        Self { backend, connections: AtomicUsize::new(0), ready: Mutex::new(None) }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn ready(&self) -> Option<CancellationToken> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn watch(&self) {
        let mut failures = 0;
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            self.check(&mut failures).await;
        }
    }

    async fn check(&self, failures: &mut u32) {
        let says_so = tokio::time::timeout(CHECK_MAX, is_ready(self.backend.health)).await;
        let says_so = matches!(says_so, Ok(Ok(true)));
        *failures = if says_so { 0 } else { *failures + 1 };
        if says_so {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
        } else if *failures >= FALL {
            self.leave();
        }
    }

    /// Marks the node as down, and closes its connections.
    fn leave(&self) {
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() {
            ready.cancel();
        }
    }

    async fn serve(&self, mut client: TcpStream) {
        let Ok(mut server) = TcpStream::connect(self.backend.address).await else { return self.leave() };
        // Held back by nothing.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Whether a node accepts sessions: not while it starts or drains.
async fn is_ready(health: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(health).await?;
    stream.write_all(b"GET /health?ready=1 HTTP/1.0\r\n\r\n").await?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).await?;
    Ok(status.split(' ').nth(1) == Some("200"))
}
