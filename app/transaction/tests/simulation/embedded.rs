//! The runner on real sessions of the embedded database: what is begun, what reaches the body, what is given back.

use std::time::Duration;

use database::{Address, Database, Options, Server, connect};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tempfile::TempDir;
use transaction::{Error, Policy, Runner, Sessions, Tx};

/// A database file with `log (id)`, a pool of `connections` on it, and a runner.
struct Log {
    database: Database,
    runner: Runner,
    _folder: TempDir,
}

impl Log {
    async fn new(connections: u32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let address = Address::parse(&format!("sqlite://{}/log.db?mode=rwc", folder.path().display()));
        let connect_timeout = Duration::from_secs(1);
        let options = Options { max_connections: connections, connect_timeout, ..Options::default() };
        let database = connect(&address.expect("a good URL"), &options).await.expect("a new file");
        let create = "CREATE TABLE log (id BIGINT PRIMARY KEY)";
        database.connection.execute_unprepared(create).await.expect("a new table");
        let policy = Policy { answer_deadline: Duration::from_secs(1), ..Policy::default() };
        Self { runner: Runner::new(database.clone(), policy), database, _folder: folder }
    }

    async fn ids(&self) -> Vec<i64> {
        let rows = self.database.connection.query_all_raw(sql("SELECT id FROM log ORDER BY id")).await;
        rows.expect("the table is there")
            .iter()
            .map(|row| row.try_get_by_index(0).expect("a number"))
            .collect()
    }
}

fn sql(text: &str) -> Statement {
    Statement::from_string(DbBackend::Sqlite, text)
}

#[tokio::test]
async fn answers_reach_the_body_and_commit_keeps_what_it_wrote() {
    let log = Log::new(1).await;
    assert_eq!(log.runner.server(), Server::Sqlite);
    let body = async |tx: &Tx| {
        let insert = Statement::from_sql_and_values(
            DbBackend::Sqlite,
            "INSERT INTO log VALUES ($1), ($2)",
            [1_i64.into(), 2_i64.into()],
        );
        assert_eq!(tx.execute_raw(insert).await?.rows_affected(), 2);
        assert_eq!(tx.execute_unprepared("INSERT INTO log VALUES (3)").await?.rows_affected(), 1);
        let last = tx.query_one_raw(sql("SELECT max(id) FROM log")).await?.expect("one row");
        let all = tx.query_all_raw(sql("SELECT id FROM log")).await?;
        assert!(tx.query_one_raw(sql("SELECT id FROM log WHERE id = 9")).await?.is_none());
        Ok::<_, DbErr>((last.try_get_by_index::<i64>(0)?, all.len()))
    };
    assert_eq!(log.runner.run("three", body).await.expect("applied"), (3, 3));
    assert_eq!(log.ids().await, [1, 2, 3]);
    // By the default policy too.
    let insert = async |tx: &Tx| tx.execute_unprepared("INSERT INTO log VALUES (4)").await.map(drop);
    transaction::run(&log.database, "four", insert).await.expect("applied");
    assert_eq!(log.ids().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn writers_take_turns_from_their_begin_on_and_readers_do_not_wait() {
    let log = Log::new(2).await;
    let mut writer = log.database.acquire().await.expect("a connection");
    assert_eq!(writer.begin(&transaction::Begin::Write).await.expect("nobody writes"), None);
    writer.execute_unprepared("INSERT INTO log VALUES (1)").await.expect("a free id");
    let count = async |tx: &Tx| {
        let row = tx.query_one_raw(sql("SELECT count(*) FROM log")).await?.expect("one row");
        row.try_get_by_index::<i64>(0)
    };
    assert_eq!(log.runner.read("count", count).await.expect("a snapshot"), 0);
    // A second writer waits at its BEGIN, before it has read anything.
    let policy = Policy { attempts_max: 1, answer_deadline: Duration::from_millis(100), ..Policy::default() };
    let second =
        Runner::new(log.database.clone(), policy).run("count", count).await.expect_err("it has to wait");
    assert!(matches!(second, Error::RetriesExhausted { .. }), "{second}");
    assert_eq!(second.attempts()[0].phase, transaction::Phase::Begin);
    writer.control("COMMIT").await.expect("it is open");
    writer.release();
    assert_eq!(log.runner.run("count", count).await.expect("nobody writes"), 1);
}

#[tokio::test]
async fn a_dropped_session_is_closed_and_a_released_one_is_used_again() {
    let log = Log::new(1).await;
    let mark = "CREATE TEMP TABLE mark (id BIGINT)";
    log.database.connection.execute_unprepared(mark).await.expect("a table of this connection's");
    let look = "SELECT id FROM mark";
    log.database.acquire().await.expect("the connection").release();
    assert!(log.database.connection.execute_unprepared(look).await.is_ok(), "it is the same connection");
    let mut dropped = log.database.acquire().await.expect("the connection");
    dropped.begin(&transaction::Begin::WriteOverOrphan).await.expect("nobody writes");
    dropped.execute_unprepared("INSERT INTO log VALUES (1)").await.expect("a free id");
    drop(dropped);
    assert!(log.database.connection.execute_unprepared(look).await.is_err(), "it is another connection");
    assert_eq!(log.ids().await, [0_i64; 0]);
}

#[tokio::test]
async fn an_error_of_the_database_has_its_code() {
    let log = Log::new(1).await;
    let twice = async |tx: &Tx| {
        tx.execute_unprepared("INSERT INTO log VALUES (1)").await?;
        tx.execute_raw(sql("INSERT INTO log VALUES (1)")).await.map(drop)
    };
    let told = log.runner.run("twice", twice).await.expect_err("the id is taken");
    assert_eq!(database::sqlstate(&told.attempts()[0].error).as_deref(), Some("1555"));
    // The pool is at its limit, and says so.
    let held = log.database.acquire().await.expect("the connection");
    let policy = Policy { attempts_max: 1, answer_deadline: Duration::from_secs(60), ..Policy::default() };
    let waited =
        Runner::new(log.database.clone(), policy).run("wait", twice).await.expect_err("no connection");
    assert!(matches!(waited, Error::RetriesExhausted { .. }), "{waited}");
    held.release();
    log.database.connection.clone().close().await.expect("it can be closed");
    let closed = log.runner.run("closed", twice).await.expect_err("the pool is closed");
    assert!(matches!(closed, Error::Database { .. }), "{closed}");
}
