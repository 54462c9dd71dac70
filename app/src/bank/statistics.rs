//! What CockroachDB's planner believes of a table: as long as that is that it is empty, v20.x scans all of it where it could seek,
//! and every transfer with it. The server finds out by itself, a minute or two after rows were added.

use std::time::Duration;

use database::Server;
use sea_orm::ConnectionTrait;

use super::Bank;

/// For how long it is tried again: since v26.1 a table has one statistics job at a time, and the server's own may run.
const TRIED_MAX: Duration = Duration::from_secs(5);

impl Bank {
    /// Tells the planner how many rows a table has, after some were added. Where that cannot be done, the server does it later.
    pub(super) async fn rows_added(&self, table: &str) {
        if self.server() != Server::Cockroach {
            return;
        }
        let sql = format!("CREATE STATISTICS {table}_added FROM {table}");
        let body = async |tx: &sea_orm_retry::Tx| tx.execute_unprepared(&sql).await.map(drop);
        if let Err(error) = self.runner.within(TRIED_MAX).query("statistics", body).await {
            tracing::debug!(%error, "the planner will find out by itself");
        }
    }
}
