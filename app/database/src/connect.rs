//! Connecting: the way to a pool, and what comes of it.

use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::address::Target;
use crate::pooler::Pooler;
use crate::{Address, ConnectError, Server, server, sqlite};

/// What the sessions of a pool are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Many short transactions, each on a few rows.
    #[default]
    Transactions,
    /// Few statements, each over whole tables.
    Analysis,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most connections the pool opens, at least 1.
    pub max_connections: u32,
    /// How long the first connection may take, from the look-up of the name to the answer of `version()`; and how long
    /// the pool of a server may take for each one after it.
    pub connect_timeout: Duration,
    /// After how long the server gives up one statement; `None` for never. SQLite has no such limit.
    pub statement_timeout: Option<Duration>,
    /// What the sessions are for.
    pub purpose: Purpose,
    /// Whether the sessions read `crdb_internal`, which CockroachDB closes since v26.1 to those that do not ask.
    pub internals: bool,
    /// Whether a SQLite file that is missing may be created, where its URL says `mode=rwc`.
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
    /// Few statements over whole tables, as long as they take: audits and schema changes.
    #[must_use]
    pub fn analysis() -> Self {
        Self { max_connections: 1, statement_timeout: None, purpose: Purpose::Analysis, ..Self::default() }
    }
}

/// A pool, and whose it is. Cloning shares the pool.
#[derive(Clone, Debug)]
pub struct Database {
    /// SeaORM's pool, for statements outside a transaction. Transactions go through the crate `sea-orm-retry`.
    pub connection: DatabaseConnection,
    /// Who answers.
    pub server: Server,
    /// In the server's own words, as in `CockroachDB CCL v20.2.0 …`.
    pub version: String,
    /// PostgreSQL: whether it was a hot standby, which takes no writes until it is promoted.
    pub is_standby: bool,
    /// What stands between the program and the server's sessions.
    pub pooler: Pooler,
    /// Why the pool is smaller than was asked for, in the server's words.
    pub limited: Option<String>,
}

/// Connects, asks who answers, and sets up a pool for that server.
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
    tokio::time::timeout(options.connect_timeout, connecting).await.unwrap_or_else(|_| {
        Err(ConnectError::TimedOut { address: address.clone(), after: options.connect_timeout })
    })
}
