//! What CockroachDB's planner believes of a table: as long as that is that it is empty, v20.x scans all of it where it could seek,
//! and every transfer with it. The server finds out by itself, a minute or two after rows were added.

use database::Server;
use sea_orm::ConnectionTrait;

use super::Bank;

impl Bank {
    /// Tells the planner how many accounts there are, after some were added. Where that cannot be done, the server does it later.
    pub(super) async fn accounts_added(&self) {
        if self.server() != Server::Cockroach {
            return;
        }
        let sql = "CREATE STATISTICS accounts_added FROM accounts";
        let done =
            self.runner.query("statistics", async |tx| tx.execute_unprepared(sql).await.map(drop)).await;
        if let Err(error) = done {
            tracing::debug!(%error, "the planner will find out by itself");
        }
    }
}
