//! Opening a SQLite file.

use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::pooler::Pooler;
use crate::{ConnectError, Database, Options, Server};

/// Opens a file, and a pool on it; its first connection says whether the file can be used.
pub(crate) async fn open(
    file: &SqliteConnectOptions,
    read_only: bool,
    options: &Options,
) -> Result<Database, ConnectError> {
    let path = || file.get_filename().display().to_string();
    if !options.create && !file.get_filename().exists() {
        return Err(ConnectError::MissingFile { path: path() });
    }
    pool(file, read_only, options).await.map_err(|error| ConnectError::of_file(path(), &error))
}

/// How long a file that another process keeps for itself is waited for.
const BUSY_MAX: Duration = Duration::from_secs(5);

async fn pool(
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
    Ok(Database {
        connection: pool.into(),
        server: Server::Sqlite,
        version: format!("SQLite {version}"),
        is_standby: false,
        pooler: Pooler::None,
        limited: None,
    })
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
