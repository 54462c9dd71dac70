//! Opens a SQLite file.

use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::pooler::Pooler;
use crate::{ConnectError, Database, Options, Server};

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

/// The longest wait for another process's lock.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// The longest wait of the first connection.
const FIRST_MAX: Duration = Duration::from_secs(3);

/// Opens the file once with the pool's options, because the pool hides the reason of a failing
/// setup.
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
            // SQLite's busy timeout does not cover concurrent switches to WAL.
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
        // The mode persists in the file. Another program's file keeps its mode: see
        // `Database::use_wal`.
        if std::fs::metadata(file.get_filename()).map_or(0, |file| file.len()) == 0 {
            file = file.journal_mode(SqliteJournalMode::Wal);
        }
    }
    let mut connections = options.max_connections;
    // Stays open until the pool has a connection: the last one to close deletes the log.
    let mut first = None;
    match first_connection(&file, read_only).await {
        Ok(connection) => first = Some(connection),
        Err(error) if lacks_room(&error) => {
            // A full disk has no room for the shared-memory file. A single exclusive connection
            // needs none.
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
    /// SQLite: switches the file to WAL, so that readers and writers do not block each other. The
    /// caller must know that the file is the bank's. Does nothing on a server, on a file in use, or
    /// on a read-only file.
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

/// SQLITE_FULL, or the files beside the database cannot be created or extended.
fn lacks_room(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // SQLITE_CANTOPEN; SQLITE_IOERR_WRITE, _SHMOPEN, _SHMSIZE
    matches!(code.as_deref(), Some("13" | "14" | "778" | "4618" | "4874"))
}

const BUSY: u32 = 5;
const FULL: u32 = 13;

/// SQLite's primary error code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// Syncs everything that this connection can read. The first process to open the file recovers all
/// complete transactions from the log, including those whose sync failed or never ran because the
/// writer was killed. A checkpoint first syncs the log, or fails.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for _ in 0..100 {
        let checkpoint = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(PASSIVE)");
        match checkpoint.fetch_one(&mut *connection).await {
            Ok(0) => return Ok(()),
            // The log is synced; only copying it to the file failed.
            Err(error) if primary_code(&error) == Some(FULL) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        // Another connection's checkpoint is running, and may fail.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
