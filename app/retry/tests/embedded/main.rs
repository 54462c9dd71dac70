//! The crate on SQLite, with SeaORM's own pools.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "nested transactions of a Tx are savepoints")]

#[path = "../common/counter.rs"]
mod counter;
mod errors;
mod limits;
#[path = "../common/lines.rs"]
mod lines;
mod nested;
#[path = "../common/nestings.rs"]
mod nestings;
mod observed;
mod orm;
mod random;
mod reading;
mod refused;
#[path = "../common/texts.rs"]
mod texts;
mod worker;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};
use sea_orm_retry::{Policy, Runner, Tx};

/// An SQLite file with a table `log (id)`.
pub(crate) struct Log {
    _file: tempfile::TempDir,
    pub(crate) url: String,
    pub(crate) db: DatabaseConnection,
    pub(crate) runner: Runner,
}

impl Log {
    pub(crate) async fn new(connections: u32) -> Self {
        let file = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", file.path().join("log.db").display());
        let db = open(&url, connections).await;
        db.execute_unprepared("PRAGMA journal_mode = WAL").await.expect("a file");
        db.execute_unprepared("CREATE TABLE log (id BIGINT PRIMARY KEY)").await.expect("a new table");
        let runner = Runner::new(&db, Policy::default());
        Self { _file: file, url, db, runner }
    }

    pub(crate) async fn ids(&self) -> Vec<i64> {
        ids(&self.db).await.expect("the table is there")
    }
}

pub(crate) async fn open(url: &str, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).sqlx_logging(false);
    Database::connect(options).await.expect("a file can be opened")
}

pub(crate) async fn ids(connection: &impl ConnectionTrait) -> Result<Vec<i64>, DbErr> {
    let sql = Statement::from_string(connection.get_database_backend(), "SELECT id FROM log ORDER BY id");
    connection.query_all_raw(sql).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

pub(crate) async fn insert(connection: &impl ConnectionTrait, id: i64) -> Result<(), DbErr> {
    connection.execute_unprepared(&format!("INSERT INTO log VALUES ({id})")).await.map(drop)
}

pub(crate) async fn send(log: &Log, sql: &str) -> Result<(), DbErr> {
    log.runner.run("send", async |tx: &Tx| tx.execute_unprepared(sql).await.map(drop)).await
}
