//! Table statistics. While CockroachDB v20.x believes a table is empty, its planner chooses a full
//! scan over an index seek. The server notices new rows after a minute or two.

use std::time::Duration;

use database::Server;
use sea_orm::ConnectionTrait;

use super::Bank;

/// The retry budget: since v26.1 a table has one statistics job at a time.
const TRIED_MAX: Duration = Duration::from_secs(5);

impl Bank {
    /// Updates a table's statistics after rows were added. On failure the server does so later.
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
