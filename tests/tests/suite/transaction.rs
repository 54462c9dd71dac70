//! The closure on real servers: what it promises of errors, cancellation, connections and lost answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use database::{Address, Database, Options, Server, connect};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Tx};
use seabank::bank::{Error, Runner};
use tests::{Loss, Tap, Test, TestDatabase, TestServer, tests};
use tokio::sync::Barrier;

use crate::books::tapped;

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        what_is_returned_is_committed,
        an_error_of_the_body_rolls_back,
        an_error_the_body_swallows_is_an_error,
        after_the_first_error_nothing_more_is_sent,
        transaction_control_in_raw_text_is_refused,
        a_run_inside_a_run_is_refused,
        a_statement_begun_and_not_finished_is_tried_again,
        a_body_runs_in_a_task_with_captured_references,
        a_cancelled_begin_leaks_nothing,
        a_run_dropped_in_its_body_frees_its_locks,
        after_an_error_the_connection_is_used_again,
        attempts_are_bounded on WIRE,
        write_skew_is_tried_again on WIRE,
        a_connection_lost_in_the_body_is_tried_again on &[Server::Postgres],
        connections_that_broke_while_idle_cost_no_attempt on WIRE,
        a_lost_answer_to_commit_is_unknown,
        a_lost_answer_to_a_read_is_no_matter,
        a_runner_sends_begin_the_body_and_commit,
    ]
}

/// A database with `log (id)`, and a runner on it.
pub(crate) struct Log {
    // Dropped with its database when the test ends.
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
        database.connection.execute_unprepared(create).await.expect("the table can be made");
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

async fn what_is_returned_is_committed(server: &TestServer) {
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

async fn an_error_the_body_swallows_is_an_error(server: &TestServer) {
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
        // Several statements in one text are the server's own to refuse, but on SQLite.
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

async fn a_statement_begun_and_not_finished_is_tried_again(server: &TestServer) {
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
            // The body knows of no error, and yet the first attempt cannot be believed.
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

/// A begin that is dropped half way must not leave an open transaction in the pool: there the next borrower's
/// autocommitted insert would be seen by nobody else.
async fn a_cancelled_begin_leaks_nothing(server: &TestServer) {
    const TIMES: i64 = 300;
    let log = Log::new(server).await;
    let elsewhere = log._bank.connect().await;
    let mut begun = 0;
    for id in 0..TIMES {
        let cancelled = log.runner.run("cancelled", async |_: &Tx| Ok::<_, DbErr>(()));
        // A timer has a resolution of a millisecond, and a file is quicker: half of them are cancelled as soon as they
        // have begun to wait.
        let patience = async {
            if id % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(u64::try_from(id).expect("small") * 10)).await;
            }
        };
        begun += tokio::select! { biased; _ = cancelled => 1, () = patience => 0 };
        let insert = format!("INSERT INTO log (id) VALUES ({id})");
        log.database.connection.execute_unprepared(&insert).await.expect("the pool is well");
        assert_eq!(
            tests::scalar(&elsewhere, "SELECT count(*) FROM log").await,
            id + 1,
            "insert {id} is not seen"
        );
    }
    assert!(begun < TIMES, "no begin was cancelled");
}

async fn a_run_dropped_in_its_body_frees_its_locks(server: &TestServer) {
    let log = Log::new(server).await;
    log.runner.run("insert", async |tx| insert(tx, 1).await).await.expect("a free id");
    let update = "UPDATE log SET note = note + 1 WHERE id = 1";
    let reached = tokio::sync::Notify::new();
    let holding = log.runner.run("hold", async |tx| {
        tx.execute_unprepared(update).await?;
        reached.notify_one();
        std::future::pending::<Result<(), DbErr>>().await
    });
    tokio::select! {
        _ = holding => unreachable!("it never ends"),
        () = reached.notified() => {}
    }
    let after = log.runner.run("after", async |tx| tx.execute_unprepared(update).await.map(drop));
    tokio::time::timeout(Duration::from_secs(20), after).await.expect("the lock is free").expect("applied");
    assert_eq!(tests::scalar(&log.database, "SELECT note FROM log").await, 1);
}

async fn after_an_error_the_connection_is_used_again(server: &TestServer) {
    let log = Log::new(server).await;
    let one = log._bank.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    let runner = Runner::new(&one, Policy::default());
    // A temporary table lives as long as its connection.
    let mark = match server.server {
        Server::Sqlite => "CREATE TEMP TABLE mark (id BIGINT)",
        Server::Postgres | Server::Cockroach => "SET application_name = 'marked'",
    };
    one.connection.execute_unprepared(mark).await.expect("the connection can be marked");
    for id in [1, 1, 1] {
        let body = async |tx: &Tx| {
            insert(tx, id).await?;
            insert(tx, id).await
        };
        runner.run("twice", body).await.expect_err("the id is taken");
    }
    let marked = match server.server {
        Server::Sqlite => "SELECT count(*) FROM sqlite_temp_master WHERE name = 'mark'",
        Server::Postgres | Server::Cockroach => {
            "SELECT CASE WHEN current_setting('application_name') = 'marked' THEN 1 ELSE 0 END"
        }
    };
    assert_eq!(tests::scalar(&one, marked).await, 1);
}

/// An error that the server gives whenever it is asked to.
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
}

/// Each reads what the other writes: one must be tried again, or both would see a log without the other's entry.
async fn write_skew_is_tried_again(server: &TestServer) {
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
            .expect("tried until it is serial")
    };
    let (a, b) = tokio::join!(insert_count(1), insert_count(2));
    assert_eq!((a.min(b), a.max(b)), (0, 1), "one saw the other");
    assert!(log.runner.counts().retries >= 1);
}

async fn a_connection_lost_in_the_body_is_tried_again(server: &TestServer) {
    let log = Log::new(server).await;
    let tries = AtomicU32::new(0);
    log.runner
        .run("suicide", async |tx| {
            insert(tx, 1).await?;
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                tx.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await?;
            }
            Ok::<_, DbErr>(())
        })
        .await
        .expect("the second attempt has a new connection");
    assert_eq!((tries.into_inner(), log.count().await), (2, 1));
}

/// As many as a lost node leaves in a pool that has lain idle.
async fn connections_that_broke_while_idle_cost_no_attempt(server: &TestServer) {
    const CONNECTIONS: u32 = 8;
    let test = server.empty_database().await;
    let proxy = test.proxy().await;
    let address = Address::parse(&proxy.url(test.url())).expect("a URL");
    let options = Options { max_connections: CONNECTIONS, ..Options::default() };
    let database = connect(&address, &options).await.expect("the proxy leads there");
    let runner = Runner::new(&database, Policy::default());
    let all_at_once = Barrier::new(CONNECTIONS as usize);
    let meet = async || {
        let body = async |_: &Tx| {
            all_at_once.wait().await;
            Ok::<_, DbErr>(())
        };
        runner.run("meet", body).await
    };
    for met in join_all((0..CONNECTIONS).map(|_| meet())).await {
        met.expect("each has a connection");
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(database.connection.get_postgres_connection_pool().num_idle(), CONNECTIONS as usize);
    proxy.cut_idle();
    // It cuts when it gets to it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let select = runner.run("select", async |tx| tx.execute_unprepared("SELECT 1").await.map(drop)).await;
    select.expect("a new connection does");
    assert_eq!(runner.counts().retries, 0);
}

async fn a_lost_answer_to_commit_is_unknown(server: &TestServer) {
    for (loss, rows) in [(Loss::AfterCommit, 1), (Loss::BeforeCommit, 0)] {
        let log = Log::new(server).await;
        let runner = tapped(&Tap::new(&log.database).losing(&[loss]), Policy::default());
        let error = runner.run("insert", async |tx| insert(tx, 1).await).await.expect_err("nobody knows");
        assert!(matches!(error, Error::Unknown { .. }), "{loss:?}: {error}");
        assert_eq!((error.attempts().len(), runner.counts().unknown), (1, 1), "it is not tried again");
        assert_eq!(log.count().await, rows, "{loss:?}");
    }
}

async fn a_lost_answer_to_a_read_is_no_matter(server: &TestServer) {
    let log = Log::new(server).await;
    let runner = tapped(&Tap::new(&log.database).losing(&[Loss::BeforeCommit]), Policy::default());
    let count = runner.read("count", async |tx| tests::scalar_in(tx, "SELECT count(*) FROM log").await).await;
    assert_eq!(count.expect("what was read was read"), 0);
}

async fn a_runner_sends_begin_the_body_and_commit(server: &TestServer) {
    let log = Log::new(server).await;
    let tap = Tap::new(&log.database);
    let runner = tapped(&tap, Policy::default());
    runner.run("insert", async |tx| insert(tx, 1).await).await.expect("a free id");
    assert_eq!(tap.verbs(), ["BEGIN", "INSERT", "COMMIT"]);
}
