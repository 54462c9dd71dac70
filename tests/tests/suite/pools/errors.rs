//! Errors that only their report tells apart, and errors that are not retried.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Log, execute, insert, open, scalar};
use sea_orm::{ConnectionTrait, Statement, TransactionTrait};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx, sqlstate};
use tests::{Played, TestServer};

pub(super) async fn an_error_of_the_driver_fails_at_once(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let attempts = AtomicU32::new(0);
    let pid = async || scalar(&log.db, "SELECT pg_backend_pid()").await;
    let statement =
        |sql: &str| Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, sql, [1_i64.into()]);
    let few = async |tx: &Tx| {
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.query_one_raw(statement("SELECT $1::int8 + $2::int8")).await.map(drop)
    };
    // v20.2 crashes if a statement has more placeholders than types.
    let survives = !server.version.contains("v20.");
    if survives {
        let error = log.runner.run("few", few).await.expect_err("one value for two");
        assert_eq!(attempts.load(Ordering::Relaxed), 1, "{error}");
        let error = log.runner.statement("few", few).await.expect_err("one value for two");
        assert!(Ended::of(&error).is_none_or(|ended| !ended.may_be_applied()), "{error}");
        assert_eq!(attempts.load(Ordering::Relaxed), 2, "{error}");
    }
    attempts.store(0, Ordering::Relaxed);
    let many: Vec<sea_orm::Value> = (0..80_000_i64).map(Into::into).collect();
    let sql = format!("SELECT {}", (1..=80_000).map(|n| format!("${n}")).collect::<Vec<_>>().join(", "));
    let body = async |tx: &Tx| {
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.query_one_raw(Statement::from_sql_and_values(tx.get_database_backend(), &sql, many.clone()))
            .await
            .map(drop)
    };
    let error = log.runner.run("many", body).await.expect_err("too many");
    assert!(error.to_string().contains("split it"), "{error}");
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    pid().await.expect("the pool is usable");
}

/// PostgreSQL reports it as XX000, "tuple concurrently updated".
pub(super) async fn a_grant_that_meets_another_is_retried(server: &TestServer) {
    let log = Log::new(server, 3).await;
    let attempts = AtomicU32::new(0);
    let grant = "GRANT SELECT ON log TO PUBLIC";
    let other = log.db.begin().await.expect("a transaction");
    other.execute_unprepared(grant).await.expect("a grant");
    let granted = log.runner.run("grant", async |tx: &Tx| {
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.execute_unprepared(grant).await.map(drop)
    });
    let commit = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while scalar(&log.db, waiting).await.expect("a query") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        other.commit().await.expect("it commits");
    };
    let (granted, ()) = tokio::join!(granted, commit);
    assert_eq!((granted, attempts.into_inner()), (Ok(()), 2));
}

/// Other internal errors, from the same function or with the same words, are no lost races.
pub(super) async fn other_internal_errors_fail_at_once(server: &TestServer) {
    let log = Log::new(server, 1).await;
    for (code, message) in [
        ("XX000@simple_heap_update", "tuple already updated by self"),
        ("XX000@heap_update", "tuple concurrently updated"),
        ("XX000", "new multixact has more than one updating member: 0 2[9 (keysh), 9 (nokeyupd)]"),
    ] {
        let proxy = log.test.proxy().await;
        proxy.play(move |request| request.text.contains("INSERT").then_some(Played::Error { code, message }));
        let runner = Runner::new(&open(&proxy.url(log.test.url()), 1).await, Policy::default());
        let attempts = AtomicU32::new(0);
        let body = async |tx: &Tx| {
            attempts.fetch_add(1, Ordering::Relaxed);
            insert(tx, 1).await
        };
        let error = runner.run("refused", body).await.expect_err("an internal error");
        let told = (sqlstate(&error).map(|code| code.into_owned()), attempts.into_inner());
        assert_eq!(told, (Some("XX000".to_owned()), 1), "{error}");
    }
}

/// The driver sends COPY as a simple query, which can hold several statements.
pub(super) async fn copy_is_one_statement(server: &TestServer) {
    let log = Log::new(server, 2).await;
    for sql in ["COMMIT", "COPY log (id) FROM STDIN; COMMIT", "COPY log (id) FROM STDIN;COMMIT;", "SET x = 1"]
    {
        let body = async |tx: &Tx| {
            insert(tx, 1).await?;
            tx.copy_in(sql, b"2\n").await
        };
        let error = log.runner.run("copy", body).await.expect_err(sql);
        assert!(error.to_string().contains("copy_in takes one COPY"), "{error}");
        assert_eq!(log.count().await, 0, "{sql}");
    }
    let copy = async |tx: &Tx| tx.copy_in("copy log (id) from stdin;", b"1\n2\n").await;
    assert_eq!(log.runner.run("copy", copy).await, Ok(2));
    assert_eq!(log.count().await, 2);
}

pub(super) async fn a_missing_privilege_fails_at_once(server: &TestServer) {
    let log = Log::new(server, 1).await;
    execute(&log.db, "CREATE TABLE forbidden (id INT8)").await;
    let role = format!("nobody_{}", log.test.name);
    execute(&log.db, &format!("CREATE ROLE {role}")).await;
    execute(&log.db, &format!("SET ROLE {role}")).await;
    let attempts = AtomicU32::new(0);
    let body = async |tx: &Tx| {
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.execute_unprepared("INSERT INTO forbidden VALUES (1)").await.map(drop)
    };
    let error = log.runner.statement("single", body).await.expect_err("no rights");
    assert_eq!((sqlstate(&error).as_deref(), attempts.into_inner()), (Some("42501"), 1), "{error}");
    assert!(Ended::of(&error).is_none(), "the error is the body's, and nothing is applied");
}

pub(super) async fn an_error_in_answer_to_commit_is_definite(server: &TestServer) {
    let log = Log::new(server, 1).await;
    for sql in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' ; END $$",
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON log DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    ] {
        execute(&log.db, sql).await;
    }
    let error = log.runner.run("refused", async |tx: &Tx| insert(tx, 1).await).await.expect_err("P0001");
    let ended = Ended::of(&error).expect("the body was well");
    assert_eq!((ended.kind(), sqlstate(ended.first()).as_deref()), (Kind::Failed, Some("P0001")), "{error}");
    let error =
        log.runner.statement("refused", async |tx: &Tx| insert(tx, 1).await).await.expect_err("P0001");
    assert!(Ended::of(&error).is_none_or(|ended| !ended.may_be_applied()), "{error}");
    assert_eq!(log.count().await, 0);
}
