//! Closes a pool, and merges SQLite's log into its file.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::{Database, Server};

/// The longest wait for connections in use.
const CLOSE_MAX: Duration = Duration::from_secs(3);

const CHECKPOINTS: u32 = 20;

impl Database {
    /// Closes all connections. Open transactions are rolled back.
    ///
    /// A SQLite file then holds everything committed, and its log (`-wal`) is gone, unless another
    /// process has the file open.
    pub async fn close(&self) {
        self.close_within(CLOSE_MAX).await;
    }

    /// The same, with a shorter wait for a server, which rolls back by itself. Does not shorten the
    /// wait for a file.
    pub async fn close_within(&self, max: Duration) {
        let max = if self.server == Server::Sqlite { CLOSE_MAX } else { max };
        let closing = async {
            let _ = self.connection.close_by_ref().await;
            if self.server == Server::Sqlite {
                let options = self.connection.get_sqlite_connection_pool().connect_options();
                empty_log((*options).clone()).await;
            }
        };
        let _ = tokio::time::timeout(max, closing).await;
    }
}

/// The last connection to close removes the log. A connection dropped during a statement closes in
/// the background, perhaps after the pool.
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
