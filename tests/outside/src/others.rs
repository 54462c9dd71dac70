//! Every kind of run refuses other databases with a clear error.

use sea_orm::sqlx::MySqlPool;
use sea_orm::{DatabaseConnection, DbBackend, DbErr, MockDatabase, SqlxMySqlConnector};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx};

pub async fn are_refused() {
    let mysql = MySqlPool::connect_lazy("mysql://nobody@127.0.0.1:9/none").expect("a URL");
    let others: [(&str, DatabaseConnection); 5] = [
        ("MySQL", SqlxMySqlConnector::from_sqlx_mysql_pool(mysql)),
        ("a mock of MySQL", MockDatabase::new(DbBackend::MySql).into_connection()),
        ("a mock of PostgreSQL", MockDatabase::new(DbBackend::Postgres).into_connection()),
        ("a mock of SQLite", MockDatabase::new(DbBackend::Sqlite).into_connection()),
        ("nothing", DatabaseConnection::default()),
    ];
    for (what, connection) in &others {
        let runner = Runner::new(connection, Policy::default());
        let body = async |_: &Tx| Ok::<_, DbErr>(());
        let worker = runner.worker();
        let told = [
            runner.run("run", body).await,
            runner.run_idempotent("run", body).await,
            runner.read("read", body).await,
            runner.query("query", body).await,
            runner.statement("statement", body).await,
            runner.run_boxed("boxed", |_| Box::pin(async { Ok(()) })).await,
            worker.run("worker", body).await,
        ];
        for told in told {
            let error = told.expect_err(what);
            let ended = Ended::of(&error).unwrap_or_else(|| panic!("{what}: {error}"));
            assert_eq!((ended.kind(), ended.attempts().len()), (Kind::Failed, 1), "{what}: {error}");
            assert!(!ended.may_be_applied(), "{what}: {error}");
            let words = "not a pool of PostgreSQL, CockroachDB or SQLite: give the runner one made by Database::connect";
            assert!(error.to_string().contains(words), "{what}: {error}");
        }
        assert_eq!(runner.server(), None, "{what}");
    }
    println!("{} kinds of other connections are refused in words", others.len());
}
