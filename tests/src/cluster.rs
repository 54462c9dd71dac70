//! A CockroachDB cluster of three nodes, which can be killed, drained and restarted one at a time.
//!
//! Every range has a replica on each node, so two nodes keep a quorum. Clients connect through a
//! [`Balancer`](crate::Balancer).

use std::path::Path;
use std::time::{Duration, Instant};

use ::database::{Database, Options};
use sea_orm::{ConnectionTrait, DbErr};

use crate::found::release;
use crate::node::{Node, Store, failed};
use crate::own::{BANK, bank_on};
use crate::patience::{PATIENCE, connect_patiently};
use crate::{Backend, Balancer, StartError, TestDatabase, scalar_in};

const NODES: usize = 3;

/// Ranges without three live replicas.
const NOT_WHOLE: &str = "SELECT count(*) FROM crdb_internal.ranges_no_leases AS r WHERE 3 > \
     (SELECT count(*) FROM crdb_internal.gossip_nodes AS n WHERE n.is_live AND n.node_id = ANY (r.replicas))";

/// Nodes that have not scanned their ranges since the last start (they do so every ten seconds),
/// and ranges found underreplicated or without a quorum.
const NOT_FOUND_WHOLE: &str = "SELECT (SELECT count(*) FROM crdb_internal.kv_node_status \
     WHERE updated_at < (SELECT max(started_at) + INTERVAL '15s' FROM crdb_internal.kv_node_status)) + \
     (SELECT sum((metrics->>'ranges.underreplicated')::DECIMAL + (metrics->>'ranges.unavailable')::DECIMAL)::INT \
     FROM crdb_internal.kv_store_status)";

/// Before v23.1: the Raft election timeout in ticks of 200 ms. Leases and heartbeats follow from it.
const ELECTION_TICKS: &str = "COCKROACH_RAFT_ELECTION_TIMEOUT_TICKS";

/// The default since v23.1, 2 s, and so leases of 6 s (CockroachDB's pull request 91947). It was
/// 15.
const ELECTION_TICKS_OF_23_1: &str = "10";

/// Three nodes, indexed from 0. Older versions elect Raft leaders and expire leases as fast as
/// v23.1 does, unless the environment has a timeout for them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    join: String,
    environment: Option<(&'static str, &'static str)>,
    /// The cluster's ids of the nodes.
    ids: Vec<i64>,
}

impl Cluster {
    /// Starts three nodes on disk as a cluster; waits until every range has three replicas.
    ///
    /// # Errors
    ///
    /// From the operating system, or a node's output.
    pub async fn start(program: &Path) -> Result<Self, StartError> {
        let mut cluster = Self::start_apart(program)?;
        cluster.form().await?;
        Ok(cluster)
    }

    /// Starts three nodes on disk without initializing the cluster.
    ///
    /// # Errors
    ///
    /// From the operating system.
    pub fn start_apart(program: &Path) -> Result<Self, StartError> {
        let nodes = (0..NODES).map(|_| Node::new(program, Store::Disk)).collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<String> = nodes.iter().map(|node| node.sql().to_string()).collect();
        let join = format!("--join={}", addresses.join(","));
        let is_slow =
            release(program).is_some_and(|it| it < (23, 1)) && std::env::var_os(ELECTION_TICKS).is_none();
        let environment = is_slow.then_some((ELECTION_TICKS, ELECTION_TICKS_OF_23_1));
        let mut cluster = Self { nodes, join, environment, ids: Vec::new() };
        for node in 0..NODES {
            cluster.spawn(node)?;
        }
        Ok(cluster)
    }

    /// Initializes the cluster; waits until every range has three replicas.
    ///
    /// # Errors
    ///
    /// A node's output.
    pub async fn form(&mut self) -> Result<(), StartError> {
        self.init().await?;
        for node in &mut self.nodes {
            let database = node.ready().await?;
            let id = scalar_in(&database.connection, "SELECT crdb_internal.node_id()").await;
            self.ids.push(id.map_err(|error| failed(error.to_string()))?);
        }
        self.is_whole().await;
        Ok(())
    }

    fn spawn(&mut self, node: usize) -> Result<(), StartError> {
        // Small caches: the three nodes share one machine.
        let how = ["start", &self.join, "--cache=64MiB", "--max-sql-memory=64MiB"];
        self.nodes[node].spawn(&how, self.environment)
    }

    async fn init(&self) -> Result<(), StartError> {
        let started = Instant::now();
        loop {
            let mut command = self.nodes[0].command();
            command.args(["init", "--insecure", &format!("--host={}", self.nodes[0].sql())]);
            let answer = command.output().map_err(|error| failed(error.to_string()))?;
            // An earlier call may have succeeded without an answer.
            if answer.status.success() || self.nodes[0].answers().await {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(failed(format!("init: {}", String::from_utf8_lossy(&answer.stderr))));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A balancer for its nodes.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn balancer(&self) -> std::io::Result<Balancer> {
        let backends = self.nodes.iter().map(|node| Backend { address: node.sql(), health: node.http() });
        Balancer::start(backends.collect()).await
    }

    /// A database's URL on one node.
    #[must_use]
    pub fn url(&self, node: usize, database: &str) -> String {
        self.nodes[node].url(database)
    }

    /// A migrated bank, through a balancer.
    pub async fn bank(&self, balancer: &Balancer) -> TestDatabase {
        let admin = self.session().await.expect("a node answers");
        bank_on(&admin, balancer.url(&self.url(0, BANK))).await
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Drains a node with SIGTERM, which ends its sessions with 57P01; waits until it has stopped.
    pub async fn drain(&mut self, node: usize) {
        self.nodes[node].drain().await;
    }

    /// Restarts the stopped nodes on their stores; waits until every range has three live replicas.
    ///
    /// # Errors
    ///
    /// A node's output.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        for node in 0..NODES {
            if !self.nodes[node].runs() {
                self.spawn(node)?;
            }
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        self.is_whole().await;
        Ok(())
    }

    /// Waits until the others consider a node dead.
    pub async fn is_missed(&self, node: usize) {
        let id = self.ids[node];
        let live =
            format!("SELECT count(*) FROM crdb_internal.gossip_nodes WHERE is_live AND node_id = {id}");
        self.falls_to_zero(&live).await;
    }

    /// Waits until a node without a quorum stops answering: it serves reads until its leases
    /// expire.
    pub async fn is_silent(&self, node: usize) {
        let started = Instant::now();
        while self.nodes[node].answers().await {
            assert!(started.elapsed() < PATIENCE, "it answers after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The leaseholder of the accounts' first range.
    pub async fn leaseholder(&self) -> usize {
        let session = self.session().await.expect("a node answers");
        let ranges = |details| {
            format!("SELECT lease_holder FROM [SHOW RANGES FROM TABLE {BANK}.accounts{details}] LIMIT 1")
        };
        // Since v23.1 the lease is shown WITH DETAILS only, which older versions do not know.
        let id = match scalar_in(&session.connection, &ranges(" WITH DETAILS")).await {
            Err(_) => scalar_in(&session.connection, &ranges("")).await,
            found => found,
        };
        let id = id.expect("a range has a leaseholder");
        self.ids.iter().position(|it| *it == id).expect("it is one of them")
    }

    /// Waits until every range has three live replicas, and the nodes agree.
    async fn is_whole(&self) {
        self.falls_to_zero(NOT_WHOLE).await;
        self.falls_to_zero(NOT_FOUND_WHOLE).await;
    }

    /// Waits until a count is 0.
    async fn falls_to_zero(&self, count: &str) {
        let started = Instant::now();
        loop {
            let found = async { scalar_in(&self.session().await?.connection, count).await };
            let found = found.await;
            if matches!(found, Ok(0)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{found:?} after {PATIENCE:?}: {count}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A session on the first running node.
    async fn session(&self) -> Result<Database, DbErr> {
        let node = self.nodes.iter().find(|node| node.runs()).expect("one runs");
        let session = connect_patiently(&node.url("defaultdb"), &Options::analysis()).await;
        let session = session.map_err(|error| DbErr::Custom(error.to_string()))?;
        // Newer versions need this for `crdb_internal`; older ones do not know it.
        let _ = session.connection.execute_unprepared("SET allow_unsafe_internals = true").await;
        Ok(session)
    }
}
