//! A user with read-only privileges on a bank.

use database::{Database, Server};
use tests::TestDatabase;

use crate::books::execute;

const TABLES: &str = "accounts, transfers, points, batches, seaql_migrations";

pub(crate) struct Reader {
    database: Database,
    role: String,
    pub(crate) url: String,
}

impl Reader {
    pub(crate) async fn of(test: &TestDatabase) -> Self {
        let database = test.connect().await;
        let role = format!("{}_reader", test.name);
        execute(&database, &format!("CREATE ROLE {role} LOGIN")).await;
        execute(&database, &format!("GRANT SELECT ON TABLE {TABLES} TO {role}")).await;
        let admin = if test.server == Server::Postgres { "postgres@" } else { "root@" };
        let url = test.url().replace(admin, &format!("{role}@"));
        Self { database, role, url }
    }

    /// A role with privileges in a database cannot be dropped.
    pub(crate) async fn drop(self) {
        execute(&self.database, &format!("REVOKE ALL ON TABLE {TABLES} FROM {}", self.role)).await;
        execute(&self.database, &format!("DROP ROLE {}", self.role)).await;
    }
}
