//! Closing a pool, so that nothing of a database is left outside its file.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::{Database, Server};

/// How long the connections are waited for that somebody still has. A statement that runs on is cut off then.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// How often SQLite's log is emptied before it is left to whoever else has the file open.
const CHECKPOINTS: u32 = 20;

impl Database {
    /// Closes all connections of the pool. What is begun on one is rolled back.
    ///
    /// SQLite's file alone is the database afterwards, unless another process has it open: what is committed is in it,
    /// and its log (`-wal`) is gone.
    pub async fn close(&self) {
        self.close_within(CLOSE_MAX).await;
    }

    /// The same, waiting no longer for a server than this: it rolls back by itself. A file is waited for as ever.
    pub async fn close_within(&self, max: Duration) {
        let max = if self.server == Server::Sqlite { CLOSE_MAX } else { max };
        let closing = async {
            // The pool's own error would say that it is closed already.
            let _ = self.connection.close_by_ref().await;
            if self.server == Server::Sqlite {
                let options = self.connection.get_sqlite_connection_pool().connect_options();
                empty_log((*options).clone()).await;
            }
        };
        // Where it takes longer a server rolls back by itself, and SQLite's log is still good for the next to open it.
        let _ = tokio::time::timeout(max, closing).await;
    }
}

/// The last connection of a file removes its log. One that was dropped in the middle of a statement closes by itself, and
/// may be later than the pool.
async fn empty_log(options: SqliteConnectOptions) {
    let mut log = options.get_filename().as_os_str().to_owned();
    log.push("-wal");
    for _ in 0..CHECKPOINTS {
        if std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            return;
        }
        if let Ok(mut connection) = options.clone().create_if_missing(false).connect().await {
            let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
            if let Err(error) = emptied {
                tracing::debug!(%error, "the log is not emptied yet");
            }
            let _ = connection.close().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
