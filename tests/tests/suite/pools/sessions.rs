//! Changes to a session: stale plans, settings, texts, silence.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_retry::{Policy, Runner, Tx};
use tests::{Fault, Test, TestServer, tests};
use tokio::sync::Barrier;

use super::{Log, POSTGRES, WIRE, execute, insert, open, scalar, text};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        stale_plans_fail_no_run on WIRE,
        statements_lost_by_the_server_fail_no_run on POSTGRES,
        an_error_that_persists_without_cached_plans_fails on POSTGRES,
        class_08_is_a_lost_link_except_for_protocol_violations on POSTGRES,
        changes_to_a_session_do_not_outlive_their_body on POSTGRES,
        one_statement_with_semicolons_is_accepted_and_two_are_refused on WIRE,
        a_connection_that_falls_silent_on_release_frees_its_place on WIRE,
        unnamed_statements_leave_nothing_prepared on POSTGRES,
    ]
}

fn all(sql: &str) -> Statement {
    Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

/// Prepares `SELECT * FROM log` on every connection.
async fn prepare_on_each(runner: &Runner, connections: u32) {
    let together = Barrier::new(connections as usize);
    let prepare = async |_: u32| {
        let body = async |tx: &Tx| {
            tx.query_all_raw(all("SELECT * FROM log")).await?;
            together.wait().await;
            Ok::<_, DbErr>(())
        };
        runner.run("prepare", body).await.expect("it is new");
    };
    join_all((0..connections).map(prepare)).await;
}

async fn stale_plans_fail_no_run(server: &TestServer) {
    for connections in [1, 4, 8] {
        let log = Log::new(server, connections).await;
        insert(&log.db, 1).await.expect("a free id");
        let elsewhere = open(log.test.url(), 1).await;
        for (column, at_once) in [("a", false), ("b", true)] {
            prepare_on_each(&log.runner, connections).await;
            execute(&elsewhere, &format!("ALTER TABLE log ADD COLUMN {column} INT8")).await;
            let select = async |_: u32| {
                let body =
                    async |tx: &Tx| Ok::<_, DbErr>(tx.query_all_raw(all("SELECT * FROM log")).await?.len());
                log.runner.run("select", body).await
            };
            let told = if at_once {
                join_all((0..2 * connections).map(select)).await
            } else {
                let mut told = Vec::new();
                for number in 0..2 * connections {
                    told.push(select(number).await);
                }
                told
            };
            for one in told {
                assert_eq!(one, Ok(1), "{connections} connections, column {column}");
            }
        }
    }
}

async fn statements_lost_by_the_server_fail_no_run(server: &TestServer) {
    let log = Log::new(server, 1).await;
    prepare_on_each(&log.runner, 1).await;
    execute(&log.db, "DEALLOCATE ALL").await;
    let body = async |tx: &Tx| {
        Ok::<_, DbErr>((tx.query_all_raw(all("SELECT * FROM log")).await?.len(), tx.attempt()))
    };
    assert_eq!(log.runner.run("select", body).await, Ok((0, 2)), "the second attempt succeeds");
    assert_eq!(log.runner.run("select", body).await, Ok((0, 1)), "the connection is not poisoned");
}

async fn an_error_that_persists_without_cached_plans_fails(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let body =
        async |tx: &Tx| tx.execute_unprepared("DO $$ BEGIN RAISE 'no' USING ERRCODE = '0A000'; END $$").await;
    let started = Instant::now();
    let error = log.runner.run("unsupported", body).await.expect_err("the error persists");
    assert!(started.elapsed() < Duration::from_secs(5), "no endless retry: {error}");
    insert(&log.db, 1).await.expect("no transaction is open");
    assert_eq!(log.count().await, 1);
}

/// 08P01 is an error of the server. Other codes of class 08 are lost links, whatever their
/// severity.
async fn class_08_is_a_lost_link_except_for_protocol_violations(server: &TestServer) {
    let log = Log::new(server, 1).await;
    for (code, attempts) in [("08006", 2), ("08003", 2), ("08P01", 1)] {
        let last = AtomicU32::new(0);
        let raise = format!("DO $$ BEGIN RAISE 'no' USING ERRCODE = '{code}'; END $$");
        let body = async |tx: &Tx| {
            last.store(tx.attempt(), Ordering::Relaxed);
            if tx.attempt() == 1 { tx.execute_unprepared(&raise).await.map(drop) } else { Ok(()) }
        };
        let told = log.runner.run("raise", body).await;
        assert_eq!((told.is_ok(), last.into_inner()), (attempts == 2, attempts), "{code}: {told:?}");
    }
}

async fn changes_to_a_session_do_not_outlive_their_body(server: &TestServer) {
    let log = Log::new(server, 1).await;
    execute(&log.db, &format!("CREATE ROLE role_{}", log.test.name)).await;
    let role = format!("SET ROLE role_{}", log.test.name);
    for sql in [
        "RESET ALL",
        "SET default_transaction_isolation = 'read committed'",
        &role,
        "SET statement_timeout = 1",
    ] {
        let before = scalar(&log.db, "SELECT pg_backend_pid()").await;
        log.runner.run("set", async |tx: &Tx| tx.execute_unprepared(sql).await.map(drop)).await.expect(sql);
        assert_ne!(
            scalar(&log.db, "SELECT pg_backend_pid()").await,
            before,
            "{sql}: the connection is closed"
        );
        let show =
            async |tx: &Tx| text(tx, "SELECT current_setting('transaction_isolation') || current_user").await;
        assert_eq!(log.runner.run("show", show).await.as_deref(), Ok("serializablepostgres"), "{sql}");
    }
    let local = "SET LOCAL statement_timeout = 10000";
    let before = scalar(&log.db, "SELECT pg_backend_pid()").await;
    log.runner.run("set", async |tx: &Tx| tx.execute_unprepared(local).await.map(drop)).await.expect(local);
    assert_eq!(scalar(&log.db, "SELECT pg_backend_pid()").await, before, "{local}: the connection is kept");
    for sql in [
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET transaction_isolation = 'read committed'",
        "DISCARD ALL",
    ] {
        let told = log.runner.run("weaken", async |tx: &Tx| tx.execute_unprepared(sql).await.map(drop)).await;
        assert!(told.is_err_and(|error: DbErr| error.to_string().contains("refused")), "{sql}");
    }
}

async fn one_statement_with_semicolons_is_accepted_and_two_are_refused(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let send = async |sql: &str| {
        let body = async |tx: &Tx| {
            insert(tx, 1).await?;
            tx.execute_unprepared(sql).await.map(drop)
        };
        log.runner.run("send", body).await
    };
    for sql in [
        "INSERT INTO log (id) VALUES (2); COMMIT",
        "SELECT 1; SELECT 2",
        "SELECT ';';\u{a0}COMMIT",
        ";COMMIT",
    ] {
        send(sql).await.expect_err(sql);
        assert_eq!(log.count().await, 0, "{sql}");
    }
    send("SELECT ';' AS a;").await.expect("one statement");
    execute(&log.db, "DELETE FROM log").await;
    if server.server == database::Server::Postgres {
        let function = "CREATE FUNCTION two() RETURNS int8 LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END";
        send(function).await.expect("one statement");
        execute(&log.db, "DELETE FROM log").await;
        send("DO $x$ BEGIN PERFORM 1; PERFORM 2; END $x$").await.expect("one statement");
    }
}

/// Silent during the pool's ping on release.
async fn a_connection_that_falls_silent_on_release_frees_its_place(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let proxy = log.test.proxy().await;
    let db = open(&proxy.url(log.test.url()), 1).await;
    let runner = Runner::new(&db, Policy::default());
    runner.run("warm", async |tx: &Tx| insert(tx, 1).await).await.expect("a free id");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut committed = 0;
    proxy.arm(move |request| {
        committed += u32::from(request.text == "COMMIT");
        (committed == 1 && request.text != "COMMIT").then(|| {
            committed = 2;
            Fault::Silent { delivered: false }
        })
    });
    runner.run("fall silent", async |tx: &Tx| insert(tx, 2).await).await.expect("a free id");
    let started = Instant::now();
    runner.run("after", async |tx: &Tx| insert(tx, 3).await).await.expect("the place is free");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(log.count().await, 3);
}

async fn unnamed_statements_leave_nothing_prepared(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let runner = log.runner.under(Policy { unnamed_statements: true, ..Policy::default() });
    let body = async |tx: &Tx| Ok::<_, DbErr>(tx.query_all_raw(all("SELECT * FROM log")).await?.len());
    for _ in 0..3 {
        assert_eq!(runner.run("select", body).await, Ok(0));
    }
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%FROM log%'";
    let left = async |tx: &Tx| scalar(tx, count).await;
    assert_eq!(runner.run("count", left).await, Ok(0));

    // A worker has a connection whose statements are named.
    let worker = log.runner.worker();
    worker.run("named", async |tx: &Tx| scalar(tx, "SELECT 1::int8").await).await.expect("a value");
    assert_eq!(worker.under(runner.policy().clone()).run("select", body).await, Ok(0));
    assert_eq!(runner.run("count", left).await, Ok(0));
}
