//! The retrying closure on real servers.

mod connection;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use database::{Database, Options, Server};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Tx};
use seabank::bank::{Error, Runner};
use tests::{Tap, Test, TestDatabase, TestServer, tests};
use tokio::sync::Barrier;

use crate::books::tapped;
use connection::{
    a_cancelled_begin_leaks_nothing, a_connection_lost_in_the_body_is_retried,
    a_lost_answer_to_commit_is_unknown, a_read_survives_a_lost_answer,
    a_run_dropped_in_its_body_frees_its_locks, after_an_error_the_connection_is_used_again,
    connections_that_broke_while_idle_cost_no_attempt,
};

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_successful_body_is_committed,
        an_error_of_the_body_rolls_back,
        an_error_that_the_body_ignores_fails_the_run,
        after_the_first_error_nothing_more_is_sent,
        transaction_control_in_raw_text_is_refused,
        a_run_inside_a_run_is_refused,
        an_unfinished_statement_is_retried,
        a_body_runs_in_a_task_with_captured_references,
        a_cancelled_begin_leaks_nothing,
        a_run_dropped_in_its_body_frees_its_locks,
        after_an_error_the_connection_is_used_again,
        attempts_are_bounded on WIRE,
        write_skew_is_retried on WIRE,
        a_connection_lost_in_the_body_is_retried on &[Server::Postgres],
        connections_that_broke_while_idle_cost_no_attempt on WIRE,
        a_lost_answer_to_commit_is_unknown,
        a_read_survives_a_lost_answer,
        a_runner_sends_begin_the_body_and_commit,
    ]
}

/// A table `log (id)`, and a runner.
pub(crate) struct Log {
    _bank: TestDatabase,
    pub(crate) database: Database,
    pub(crate) runner: Runner,
}

impl Log {
    pub(crate) async fn new(server: &TestServer) -> Self {
        Self::under(server, Policy::default()).await
    }

    pub(crate) async fn under(server: &TestServer, policy: Policy) -> Self {
        let bank = server.empty_database().await;
        let database = bank.connect_with(&Options { max_connections: 4, ..Options::default() }).await;
        let create = "CREATE TABLE log (id BIGINT PRIMARY KEY, note BIGINT NOT NULL DEFAULT 0)";
        database.connection.execute_unprepared(create).await.expect("the table is created");
        let runner = Runner::new(&database, policy);
        Self { _bank: bank, database, runner }
    }

    pub(crate) async fn count(&self) -> i64 {
        tests::scalar(&self.database, "SELECT count(*) FROM log").await
    }
}

pub(crate) async fn insert(tx: &Tx, id: i64) -> Result<(), DbErr> {
    tx.execute_unprepared(&format!("INSERT INTO log (id) VALUES ({id})")).await.map(drop)
}

async fn a_successful_body_is_committed(server: &TestServer) {
    let log = Log::new(server).await;
    let id = log
        .runner
        .run("insert", async |tx| insert(tx, 7).await.map(|()| 7))
        .await
        .expect("nothing stands in the way");
    assert_eq!((id, log.count().await), (7, 1));
}

async fn an_error_of_the_body_rolls_back(server: &TestServer) {
    let log = Log::new(server).await;
    let error = log
        .runner
        .run("insert", async |tx| {
            insert(tx, 1).await.expect("a free id");
            Err::<(), _>("changed my mind")
        })
        .await
        .expect_err("the body's own error");
    assert!(matches!(error, Error::Body("changed my mind")), "{error}");
    assert_eq!(log.count().await, 0);
}

async fn an_error_that_the_body_ignores_fails_the_run(server: &TestServer) {
    let log = Log::new(server).await;
    let error = log
        .runner
        .run("insert", async |tx| {
            insert(tx, 1).await?;
            let _ = insert(tx, 1).await;
            Ok::<_, DbErr>(())
        })
        .await
        .expect_err("the second insert failed");
    assert!(matches!(error, Error::Database { .. }), "{error}");
    assert_eq!(log.count().await, 0);
}

async fn after_the_first_error_nothing_more_is_sent(server: &TestServer) {
    let log = Log::new(server).await;
    let tap = Tap::new(&log.database);
    let error = tapped(&tap, Policy::default())
        .run("insert", async |tx| {
            let first =
                tx.execute_unprepared("INSERT INTO nowhere VALUES (1)").await.expect_err("no such table");
            let second = insert(tx, 2).await.expect_err("nothing more is sent");
            assert_eq!(first, second);
            Err::<(), _>(second)
        })
        .await
        .expect_err("no such table");
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_eq!(tap.verbs(), ["BEGIN", "INSERT", "ROLLBACK"]);
    assert_eq!(log.count().await, 0);
}

async fn transaction_control_in_raw_text_is_refused(server: &TestServer) {
    let log = Log::new(server).await;
    for sql in ["COMMIT", "/* really */ rollback", "SAVEPOINT a", "INSERT INTO log VALUES (2); COMMIT"] {
        let error = log
            .runner
            .run("control", async |tx| {
                insert(tx, 1).await?;
                tx.execute_unprepared(sql).await.map(drop)
            })
            .await
            .expect_err(sql);
        // SQLite does not refuse several statements in one prepared text.
        let by_server = matches!(&error, Error::Database { error, .. }
            if matches!(database::sqlstate(error).as_deref(), Some("42601" | "42P14")));
        assert_eq!(by_server, sql.contains(';') && server.server != Server::Sqlite, "{error}");
        assert!(by_server || error.to_string().contains("refused inside a transaction"), "{error}");
        assert_eq!(log.count().await, 0, "{sql}");
    }
}

async fn a_run_inside_a_run_is_refused(server: &TestServer) {
    let log = Log::new(server).await;
    let error = log
        .runner
        .run("outer", async |_| log.runner.run("inner", async |tx| insert(tx, 1).await).await)
        .await
        .expect_err("a second transaction");
    assert!(matches!(error, Error::Body(Error::Refused(_))), "{error}");
    assert_eq!(log.count().await, 0);
}

async fn an_unfinished_statement_is_retried(server: &TestServer) {
    let log = Log::new(server).await;
    let slow = match server.server {
        Server::Sqlite => {
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000) SELECT max(i) FROM n"
        }
        Server::Postgres | Server::Cockroach => "SELECT pg_sleep(5)",
    };
    let attempts = AtomicU32::new(0);
    log.runner
        .run("slow", async |tx| {
            insert(tx, 1).await?;
            if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
                let slow = tx.execute_unprepared(slow);
                assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err(), "too fast");
            }
            // The body does not see the error, but the attempt must fail.
            Ok::<_, DbErr>(())
        })
        .await
        .expect("the second attempt has nothing to wait for");
    assert_eq!((attempts.into_inner(), log.count().await), (2, 1));
}

async fn a_body_runs_in_a_task_with_captured_references(server: &TestServer) {
    let log = Arc::new(Log::new(server).await);
    let tasks: Vec<_> = (0..4)
        .map(|first| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let ids = [first * 10, first * 10 + 1];
                let ids = &ids;
                log.runner
                    .run("insert", async |tx| {
                        for id in ids {
                            insert(tx, *id).await?;
                        }
                        Ok::<_, DbErr>(())
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("applied");
    }
    assert_eq!(log.count().await, 8);
}

pub(crate) fn serialization_failure(server: Server) -> &'static str {
    match server {
        Server::Cockroach => "SELECT crdb_internal.force_error('40001', 'on purpose')",
        Server::Postgres | Server::Sqlite => {
            "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END $$"
        }
    }
}

async fn attempts_are_bounded(server: &TestServer) {
    let log = Log::under(server, Policy { attempts_max: 3, ..Policy::default() }).await;
    let tries = AtomicU32::new(0);
    let error = log
        .runner
        .run("never", async |tx| {
            tries.fetch_add(1, Ordering::Relaxed);
            insert(tx, 1).await?;
            tx.execute_unprepared(serialization_failure(server.server)).await.map(drop)
        })
        .await
        .expect_err("every attempt fails");
    assert!(matches!(error, Error::RetriesExhausted { .. }), "{error}");
    assert_eq!((error.attempts().len(), tries.into_inner(), log.count().await), (3, 3, 0));
    assert_eq!(log.runner.counts().retries_by_sqlstate["40001"], 2);
    let again = log.runner.run("again", async |tx| Err::<(), _>(tx.again("on purpose"))).await;
    assert!(matches!(again, Err(Error::RetriesExhausted { .. })));
    assert_eq!(log.runner.counts().retries_by_sqlstate["conflict"], 2);
}

/// Each transaction reads what the other writes, so one must be retried.
async fn write_skew_is_retried(server: &TestServer) {
    let log = Log::new(server).await;
    let both_have_read = Barrier::new(2);
    let insert_count = async |id: i64| {
        let first = AtomicU32::new(0);
        let (runner, both_have_read, first) = (&log.runner, &both_have_read, &first);
        runner
            .run("skew", async move |tx| {
                let count = tests::scalar_in(tx, "SELECT count(*) FROM log").await?;
                if first.fetch_add(1, Ordering::Relaxed) == 0 {
                    both_have_read.wait().await;
                }
                insert(tx, id).await.map(|()| count)
            })
            .await
            .expect("retried until it succeeds")
    };
    let (a, b) = tokio::join!(insert_count(1), insert_count(2));
    assert_eq!((a.min(b), a.max(b)), (0, 1), "one saw the other");
    assert!(log.runner.counts().retries >= 1);
}

async fn a_runner_sends_begin_the_body_and_commit(server: &TestServer) {
    let log = Log::new(server).await;
    let tap = Tap::new(&log.database);
    let runner = tapped(&tap, Policy::default());
    runner.run("insert", async |tx| insert(tx, 1).await).await.expect("a free id");
    assert_eq!(tap.verbs(), ["BEGIN", "INSERT", "COMMIT"]);
}
