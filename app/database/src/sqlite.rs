//! Opening a SQLite file.

use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

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

/// And how long by the first connection: whoever turns a new file to WAL does not take longer.
const FIRST_MAX: Duration = Duration::from_secs(3);

/// Opens the file once as every connection of the pool will. Where a connection cannot be set up, the pool would try for as
/// long as it may, and not say why.
async fn first_connection(
    file: &SqliteConnectOptions,
    read_only: bool,
) -> Result<SqliteConnection, sqlx::Error> {
    let impatient = file.clone().busy_timeout(Duration::from_millis(500));
    let started = Instant::now();
    loop {
        let opening = async {
            let mut connection = impatient.connect().await?;
            sqlx::query("SELECT 1 FROM sqlite_master").execute(&mut connection).await?;
            if !read_only {
                make_durable(&mut connection).await?;
            }
            Ok(connection)
        };
        match opening.await {
            // SQLite's own waiting does not help those who want to turn the same file to WAL.
            Err(error) if primary_code(&error) == Some(BUSY) && started.elapsed() < FIRST_MAX => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened,
        }
    }
}

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
    let mut connections = options.max_connections;
    // It stays open until the pool has one: who is the last to close removes the log, and the next makes it anew.
    let mut first = None;
    match first_connection(&file, read_only).await {
        Ok(connection) => first = Some(connection),
        Err(error) if lacks_room(&error) => {
            // On a full disk there is no room for what connections share, and a single one can do without.
            file = file.locking_mode(SqliteLockingMode::Exclusive);
            first_connection(&file, read_only).await.map_err(|_| error)?.close().await?;
            connections = 1;
        }
        Err(error) => return Err(error),
    }
    let pool = pool_options(connections, read_only, options).connect_with(file).await?;
    if let Some(first) = first {
        first.close().await?;
    }
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

fn pool_options(connections: u32, read_only: bool, options: &Options) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.connect_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move { if read_only { Ok(()) } else { make_durable(connection).await } })
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

/// SQLITE_FULL, and what comes of it where the files beside the database cannot be made or grow.
fn lacks_room(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // SQLITE_CANTOPEN; SQLITE_IOERR_WRITE, _SHMOPEN, _SHMSIZE
    matches!(code.as_deref(), Some("13" | "14" | "778" | "4618" | "4874"))
}

const BUSY: u32 = 5;
const FULL: u32 = 13;

/// SQLite's code, whatever its extension says of the reason.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// Makes durable what a connection can see, before anything is said of it. Whoever opens the file after the last to have it open
/// recovers from the log whatever is whole in it: also a transaction whose sync has failed or never came, because its
/// process was killed. A checkpoint begins by syncing the log, or fails.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for _ in 0..100 {
        let checkpoint = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(PASSIVE)");
        match checkpoint.fetch_one(&mut *connection).await {
            Ok(0) => return Ok(()),
            // The log is synced, and there is no room to go on: all can be read.
            Err(error) if primary_code(&error) == Some(FULL) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        // Another's checkpoint is on its way, and may fail.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
