//! From an address to a pool.

use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::address::Target;
use crate::parameters::log_parameters;
use crate::pooler::Pooler;
use crate::{Address, ConnectError, Server, server, sqlite};

/// What the pool's sessions are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Many short transactions on a few rows.
    #[default]
    Transactions,
    /// Few statements over whole tables.
    Analysis,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most connections, at least 1.
    pub max_connections: u32,
    /// The limit for the first connection, DNS included, and for each further one to a server.
    pub connect_timeout: Duration,
    /// The server's limit for one statement; `None` for no limit. SQLite has none.
    pub statement_timeout: Option<Duration>,
    /// What the sessions are for.
    pub purpose: Purpose,
    /// Whether the sessions may read `crdb_internal`, which CockroachDB denies by default since
    /// v26.1.
    pub internals: bool,
    /// Whether a missing SQLite file may be created, if its URL says `mode=rwc`.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 8,
            connect_timeout: Duration::from_secs(8),
            statement_timeout: Some(Duration::from_secs(30)),
            purpose: Purpose::Transactions,
            internals: false,
            create: true,
        }
    }
}

impl Options {
    /// For audits and schema changes: a few statements without a time limit.
    #[must_use]
    pub fn analysis() -> Self {
        Self { max_connections: 1, statement_timeout: None, purpose: Purpose::Analysis, ..Self::default() }
    }
}

/// A pool and its server. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Database {
    /// SeaORM's pool, for statements outside transactions. For transactions use the crate
    /// `sea-orm-retry`.
    pub connection: DatabaseConnection,
    /// The kind of server.
    pub server: Server,
    /// The server's version string, such as `CockroachDB CCL v20.2.0 …`.
    pub version: String,
    /// Whether the server was a hot standby (PostgreSQL), which is read-only until promoted.
    pub is_standby: bool,
    /// The pooler in front of the server.
    pub pooler: Pooler,
    /// Why the pool is smaller than requested: the server's message.
    pub limited: Option<String>,
}

/// Connects, detects the server, and sets up a pool for it.
///
/// # Errors
///
/// A [`ConnectError`] within [`Options::connect_timeout`], whatever the network does.
pub async fn connect(address: &Address, options: &Options) -> Result<Database, ConnectError> {
    let connecting = async {
        match &*address.target {
            Target::Sqlite { options: file, read_only } => sqlite::open(file, *read_only, options).await,
            Target::Wire { options: server, tls } => server::open(server, tls, address, options).await,
        }
    };
    let Ok(connected) = tokio::time::timeout(options.connect_timeout, connecting).await else {
        return Err(ConnectError::TimedOut { address: address.clone(), after: options.connect_timeout });
    };
    let mut database = connected?;
    database.connection.set_metric_callback(|sent| log_parameters(sent.statement));
    Ok(database)
}
