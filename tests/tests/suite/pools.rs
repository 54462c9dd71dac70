//! `sea-orm-retry` on SeaORM's pools with default settings.
#![allow(clippy::disallowed_methods, reason = "a nested begin of a Tx is a savepoint")]

mod ddl;
mod errors;
#[path = "../../../app/retry/tests/common/nestings.rs"]
mod nestings;
mod orphans;
mod pooler;
mod random;
mod sessions;
mod standby;
#[path = "../../../app/retry/tests/common/texts.rs"]
mod texts;

use std::sync::atomic::{AtomicU32, Ordering};

use database::Server;

use errors::{
    a_grant_that_meets_another_is_retried, a_missing_privilege_fails_at_once,
    an_error_in_answer_to_commit_is_definite, an_error_of_the_driver_fails_at_once, copy_is_one_statement,
    other_internal_errors_fail_at_once,
};
use futures_util::future::join_all;
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr, SqlErr, Statement, TransactionSession,
    TransactionTrait,
};
use sea_orm_retry::{Isolation, Policy, Runner, Tx};
use tests::{EVERY, Test, TestDatabase, TestServer, tests};
use tokio::sync::Barrier;

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];
const POSTGRES: &[Server] = &[Server::Postgres];

pub(crate) fn tests() -> Vec<Test> {
    let mut all = tests![
        a_pool_conforms on EVERY,
        a_weaker_isolation_does_not_conform on POSTGRES,
        begin_names_the_isolation_level on WIRE,
        write_skew_is_retried on WIRE,
        contended_get_or_create_is_exact on EVERY,
        a_nested_conflict_retries_the_whole_attempt on WIRE,
        a_read_cannot_write on EVERY,
        an_error_of_the_driver_fails_at_once on WIRE,
        a_grant_that_meets_another_is_retried on POSTGRES,
        other_internal_errors_fail_at_once on POSTGRES,
        copy_is_one_statement on WIRE,
        a_missing_privilege_fails_at_once on POSTGRES,
        an_error_in_answer_to_commit_is_definite on POSTGRES,
    ];
    all.extend(ddl::tests());
    all.extend(sessions::tests());
    all.extend(orphans::tests());
    all.extend(pooler::tests());
    all.extend(random::tests());
    all.extend(standby::tests());
    all
}

/// A table `log (id, note)` and SeaORM's pool.
pub(crate) struct Log {
    pub(crate) test: TestDatabase,
    pub(crate) db: DatabaseConnection,
    pub(crate) runner: Runner,
}

impl Log {
    pub(crate) async fn new(server: &TestServer, connections: u32) -> Self {
        let test = server.empty_database().await;
        let db = open(test.url(), connections).await;
        if server.server == Server::Sqlite {
            db.execute_unprepared("PRAGMA journal_mode = WAL").await.expect("a file");
        }
        execute(&db, "CREATE TABLE log (id BIGINT PRIMARY KEY, note BIGINT NOT NULL DEFAULT 0)").await;
        let runner = Runner::new(&db, Policy::default());
        Self { test, db, runner }
    }

    pub(crate) async fn count(&self) -> i64 {
        scalar(&self.db, "SELECT count(*) FROM log").await.expect("the table is there")
    }
}

pub(crate) async fn open(url: &str, connections: u32) -> DatabaseConnection {
    let url = url.replacen("cockroachdb://", "postgres://", 1);
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).sqlx_logging(false);
    sea_orm::Database::connect(options).await.expect("the server answers")
}

pub(crate) async fn execute(connection: &impl ConnectionTrait, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) async fn insert(connection: &impl ConnectionTrait, id: i64) -> Result<(), DbErr> {
    connection.execute_unprepared(&format!("INSERT INTO log (id) VALUES ({id})")).await.map(drop)
}

pub(crate) async fn ids(connection: &impl ConnectionTrait) -> Result<Vec<i64>, DbErr> {
    let sql = Statement::from_string(connection.get_database_backend(), "SELECT id FROM log ORDER BY id");
    connection.query_all_raw(sql).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

pub(crate) async fn scalar(connection: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    tests::scalar_in(connection, sql).await
}

pub(crate) async fn text(connection: &impl ConnectionTrait, sql: &str) -> Result<String, DbErr> {
    let row =
        connection.query_one_raw(Statement::from_string(connection.get_database_backend(), sql)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)
}

async fn a_pool_conforms(server: &TestServer) {
    let log = Log::new(server, 4).await;
    sea_orm_retry::testing::conformance(&log.db, &log.runner).await.unwrap_or_else(|error| panic!("{error}"));
}

/// Shows that the suite can fail.
async fn a_weaker_isolation_does_not_conform(server: &TestServer) {
    let log = Log::new(server, 4).await;
    let weak = log.runner.under(Policy { isolation: Isolation::ReadCommitted, ..Policy::default() });
    let error = sea_orm_retry::testing::conformance(&log.db, &weak).await.expect_err("write skew");
    assert!(error.to_string().contains("write skew"), "{error}");
}

async fn begin_names_the_isolation_level(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let weaker = if server.server == Server::Postgres { "read committed" } else { "serializable" };
    execute(&log.db, &format!("SET default_transaction_isolation = '{weaker}'")).await;
    let show = async |tx: &Tx| text(tx, "SHOW transaction_isolation").await;
    assert_eq!(log.runner.run("show", show).await.as_deref(), Ok("serializable"));
    assert_eq!(log.runner.server().map(|it| it.to_string()), Some(server.server.to_string()));
    if server.server == Server::Postgres {
        let weak = Policy { isolation: Isolation::ReadCommitted, ..Policy::default() };
        assert_eq!(log.runner.under(weak).run("show", show).await.as_deref(), Ok("read committed"));
        assert_eq!(log.runner.read("show", show).await.as_deref(), Ok("repeatable read"));
        assert_eq!(
            text(&log.db, "SHOW default_transaction_isolation").await.as_deref(),
            Ok("read committed")
        );
    }
}

/// Each transaction reads what the other writes, so one must be retried.
async fn write_skew_is_retried(server: &TestServer) {
    let log = Log::new(server, 4).await;
    let both_have_read = Barrier::new(2);
    let insert_count = async |id: i64| {
        let both_have_read = &both_have_read;
        let body = async move |tx: &Tx| {
            let count = scalar(tx, "SELECT count(*) FROM log").await?;
            if tx.attempt() == 1 {
                both_have_read.wait().await;
            }
            insert(tx, id).await.map(|()| count)
        };
        log.runner.run("skew", body).await.expect("retried until it succeeds")
    };
    let (a, b) = tokio::join!(insert_count(1), insert_count(2));
    assert_eq!((a.min(b), a.max(b)), (0, 1), "one saw the other");
}

async fn contended_get_or_create_is_exact(server: &TestServer) {
    const WORKERS: i64 = 8;
    const TIMES: i64 = 20;
    let log = Log::new(server, 4).await;
    let sqlite = server.server == Server::Sqlite;
    let create = if sqlite { "INTEGER PRIMARY KEY" } else { "BIGSERIAL PRIMARY KEY" };
    execute(&log.db, &format!("CREATE TABLE tag (id {create}, name BIGINT NOT NULL UNIQUE)")).await;
    execute(&log.db, "CREATE TABLE used (worker BIGINT, tag BIGINT)").await;
    let worker = async |number: i64| {
        for name in 0..TIMES {
            let body = async |tx: &Tx| {
                let nested = tx.begin().await?;
                let added =
                    nested.execute_unprepared(&format!("INSERT INTO tag (name) VALUES ({name})")).await;
                match added {
                    Ok(_) => nested.commit().await?,
                    Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                        nested.rollback().await?;
                    }
                    Err(error) => return Err(error),
                }
                let found = scalar(tx, &format!("SELECT id FROM tag WHERE name = {name}")).await;
                // Newer than the snapshot: it exists and is invisible.
                let tag = found.map_err(|error| match error {
                    DbErr::RecordNotFound(_) => tx.again("the tag is not visible yet"),
                    error => error,
                })?;
                tx.execute_unprepared(&format!("INSERT INTO used VALUES ({number}, {tag})")).await.map(drop)
            };
            log.runner.run("tag", body).await.unwrap_or_else(|error: DbErr| panic!("{error}"));
        }
    };
    join_all((0..WORKERS).map(worker)).await;
    for (sql, expected) in [
        ("SELECT count(*) FROM tag", TIMES),
        ("SELECT count(*) FROM used", TIMES * WORKERS),
        ("SELECT count(*) FROM (SELECT tag FROM used GROUP BY tag HAVING count(*) = 8) AS whole", TIMES),
    ] {
        assert_eq!(scalar(&log.db, sql).await, Ok(expected), "{sql}");
    }
}

fn serialization_failure(server: Server) -> &'static str {
    match server {
        Server::Cockroach => "SELECT crdb_internal.force_error('40001', 'on purpose')",
        Server::Postgres | Server::Sqlite => {
            "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END $$"
        }
    }
}

async fn a_nested_conflict_retries_the_whole_attempt(server: &TestServer) {
    let log = Log::new(server, 2).await;
    let attempts = AtomicU32::new(0);
    let body = async |tx: &Tx| {
        attempts.fetch_add(1, Ordering::Relaxed);
        insert(tx, 1).await?;
        let nested = tx.begin().await?;
        if tx.attempt() < 4 {
            let _ = nested.execute_unprepared(serialization_failure(server.server)).await;
            let _ = nested.rollback().await;
        } else {
            nested.commit().await?;
        }
        let _ = insert(tx, 2).await;
        Ok::<_, DbErr>(())
    };
    log.runner.run("swallow", body).await.expect("the fourth attempt is well");
    assert_eq!((attempts.into_inner(), log.count().await), (4, 2));
}

async fn a_read_cannot_write(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let read_only = log.runner.under(Policy { read_only: true, ..Policy::default() });
    let started = std::time::Instant::now();
    assert!(log.runner.read("write", async |tx: &Tx| insert(tx, 1).await).await.is_err());
    assert!(read_only.run("write", async |tx: &Tx| insert(tx, 1).await).await.is_err());
    assert!(started.elapsed().as_secs() < 5, "25006 caused by the runner fails at once");
    insert(&log.db, 2).await.expect("the connection can write again");
    let see = async |tx: &Tx| scalar(tx, "SELECT count(*) FROM log").await;
    assert_eq!(log.runner.read("see", see).await, Ok(1));
    assert_eq!(read_only.run("see", see).await, Ok(1));
}
