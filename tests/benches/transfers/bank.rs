//! Banks with accounts 1, 2, 3, … and enough money.

use std::mem::ManuallyDrop;

use database::Server;
use sea_orm::ConnectionTrait;
use tests::{TestDatabase, TestServer};

/// Not dropped: its server ends soon.
pub(crate) async fn bank(server: &TestServer, accounts: u64) -> ManuallyDrop<TestDatabase> {
    let test = ManuallyDrop::new(server.database().await);
    execute(
        &test,
        &[
            &format!(
                "INSERT INTO accounts (id, balance, opening_balance) \
                 SELECT n, 1000000000, 1000000000 FROM generate_series(1, {accounts}) AS n"
            ),
            match server.server {
                Server::Cockroach => "CREATE STATISTICS accounts_statistics FROM accounts",
                Server::Sqlite | Server::Postgres => "VACUUM ANALYZE accounts",
            },
        ],
    )
    .await;
    test
}

/// Executes statements one by one.
pub(crate) async fn execute(test: &TestDatabase, statements: &[&str]) {
    let database = test.connect_for_analysis().await;
    for sql in statements {
        database.connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
