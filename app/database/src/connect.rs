//! Connecting: one probing connection that asks who answers, then a pool set up for that server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use sea_orm::DatabaseConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection, SqliteConnection};

use crate::address::Target;
use crate::lifetime::{self, Lifetimes};
use crate::tls::Tls;
use crate::{Address, ConnectError, Server, session};

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
}

/// Connects, asks who answers, and sets up a pool for that server.
///
/// # Errors
///
/// A [`ConnectError`] within [`Options::connect_timeout`], whatever the network does.
pub async fn connect(address: &Address, options: &Options) -> Result<Database, ConnectError> {
    let connecting = async {
        match &*address.target {
            Target::Sqlite { options: file, read_only } => {
                if !options.create && !file.get_filename().exists() {
                    return Err(ConnectError::MissingFile { path: address.database() });
                }
                sqlite(file, *read_only, options).await.map_err(|error| ConnectError::NoFile {
                    path: address.database(),
                    reason: error
                        .as_database_error()
                        .map_or_else(|| error.to_string(), |e| e.message().to_owned()),
                })
            }
            Target::Wire { options: server, tls } => wire(server, tls, address, options).await,
        }
    };
    tokio::time::timeout(options.connect_timeout, connecting).await.unwrap_or_else(|_| {
        Err(ConnectError::TimedOut { address: address.clone(), after: options.connect_timeout })
    })
}

/// How long a file that another process keeps for itself is waited for.
const BUSY_MAX: Duration = Duration::from_secs(5);

async fn sqlite(
    file: &SqliteConnectOptions,
    read_only: bool,
    options: &Options,
) -> Result<Database, sqlx::Error> {
    let mut file =
        file.clone().foreign_keys(true).busy_timeout(BUSY_MAX).log_statements(log::LevelFilter::Debug);
    if !options.create {
        file = file.create_if_missing(false);
    }
    if !read_only {
        file = file.synchronous(SqliteSynchronous::Full);
        // The mode is kept in the file. One that is another program's keeps its own: see `Database::use_wal`.
        if std::fs::metadata(file.get_filename()).map_or(0, |file| file.len()) == 0 {
            file = file.journal_mode(SqliteJournalMode::Wal);
        }
    }
    let pool_options = SqlitePoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.connect_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move { if read_only { Ok(()) } else { make_durable(connection).await } })
        });
    let started = Instant::now();
    let pool = loop {
        match pool_options.clone().connect_with(file.clone()).await {
            // Whoever turns a new file to WAL keeps it for himself meanwhile, and SQLite's own waiting does not help
            // those who want the same.
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_MAX => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => break opened?,
        }
    };
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?;
    Ok(Database { connection: pool.into(), server: Server::Sqlite, version: format!("SQLite {version}") })
}

impl Database {
    /// SQLite: keeps the log of this file beside it from now on (WAL), so that readers and writers do not wait for each
    /// other. It is the caller's to know that the file is not another program's. Does nothing on a server, nor where the
    /// file is in use or may not be written.
    pub async fn use_wal(&self) {
        if self.server != Server::Sqlite {
            return;
        }
        let pool = self.connection.get_sqlite_connection_pool();
        if let Err(error) = sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await {
            tracing::debug!(%error, "the file keeps its journal mode");
        }
    }
}

/// SQLITE_BUSY, whatever its extension says of the reason.
fn is_busy(error: &sqlx::Error) -> bool {
    let code =
        error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// Makes durable what a connection can see, before anything is said of it. Whoever opens the file after the last to have it open
/// recovers from the log whatever is whole in it: also a transaction whose sync has failed or never came, because its
/// process was killed. A checkpoint begins by syncing the log, or fails.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for _ in 0..100 {
        let busy: i64 =
            sqlx::query_scalar("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *connection).await?;
        if busy == 0 {
            return Ok(());
        }
        // Another's checkpoint is on its way, and may fail.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}

/// Whether there is a database of this name, by its use: since v26.1 the catalog may answer from a cache.
async fn uses(probe: &mut PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    if database.is_empty() {
        return Ok(false);
    }
    let sql = format!("SET database = '{}'", database.replace('\'', "''"));
    match session::apply(probe, &sql).await {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => Ok(false),
        Err(error) => Err(error),
    }
}

/// For how long an idle connection is taken to be as it was.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long it is waited for then: a node that vanished never answers, and a new connection takes less.
const PING_MAX: Duration = Duration::from_secs(2);

async fn wire(
    wire: &PgConnectOptions,
    tls: &Tls,
    address: &Address,
    options: &Options,
) -> Result<Database, ConnectError> {
    let refused = |error: sqlx::Error| ConnectError::of(address, tls, &error);
    tls.check()?;
    let wire = wire.clone().log_statements(log::LevelFilter::Debug);
    let mut probe = PgConnection::connect_with(&wire).await.map_err(refused)?;
    let version: String =
        sqlx::query_scalar("SELECT version()").fetch_one(&mut probe).await.map_err(refused)?;
    let server = if version.contains("CockroachDB") { Server::Cockroach } else { Server::Postgres };
    // CockroachDB lets a session into a database that does not exist.
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_database WHERE datname = current_database())",
    )
    .fetch_one(&mut probe)
    .await
    .map_err(refused)?;
    let exists = exists
        || server == Server::Cockroach && uses(&mut probe, &address.database()).await.map_err(refused)?;
    if !exists {
        return Err(ConnectError::NoDatabase { address: address.clone() });
    }
    let settings =
        session::accepted(&mut probe, session::settings(server, &version, options)).await.map_err(refused)?;
    let _ = probe.close().await;

    let lifetimes = Arc::new(Lifetimes::new(options.max_connections));
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections)
        .max_lifetime(lifetime::MAX)
        // Asks the server for nothing.
        .after_release(move |_, about| {
            let draw = |most| rand::rng().random_range(Duration::ZERO..=most);
            let ends = lifetimes.ends(about.age, Instant::now(), draw);
            Box::pin(std::future::ready(Ok(!ends)))
        })
        .idle_timeout(Duration::from_secs(10 * 60))
        // While connections are refused the pool keeps trying in silence: no longer than this, for whoever asked has a
        // limit of his own, and a word to say about every retry.
        .acquire_timeout(options.connect_timeout)
        // The pool has looked at a connection when it came back; what broke just now shows in the first statement,
        // and that is retried. A ping here would be one more round trip for every transaction. But of those that have lain idle, a
        // node that was lost has broken many at once, and each would cost an attempt and a pause.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for < TRUSTED_IDLE {
                    return Ok(true);
                }
                let answer = tokio::time::timeout(PING_MAX, connection.ping()).await;
                Ok(matches!(answer, Ok(Ok(()))))
            })
        })
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move { session::apply(connection, &settings).await })
        })
        .connect_lazy_with(wire);
    Ok(Database { connection: pool.into(), server, version })
}
