//! What the caller gets: the body's error unchanged, or an `Ended`.

use std::error::Error;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, SqlErr};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx, reason, sqlstate};

use crate::{Log, insert, open};

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("too little money")]
    Funds,
    #[error(transparent)]
    Database(#[from] DbErr),
    #[error(transparent)]
    Ended(#[from] Ended),
}

#[tokio::test]
async fn an_error_of_the_body_is_returned_unchanged_and_rolls_back() {
    let log = Log::new(1).await;
    let told: Result<(), Refusal> = log
        .runner
        .run("refuse", async |tx: &Tx| {
            insert(tx, 1).await?;
            Err(Refusal::Funds)
        })
        .await;
    assert!(matches!(told, Err(Refusal::Funds)), "{told:?}");
    let told: Result<(), Refusal> = log
        .runner
        .run("twice", async |tx: &Tx| {
            insert(tx, 1).await?;
            Ok(insert(tx, 1).await?)
        })
        .await;
    let Err(Refusal::Database(error)) = told else { panic!("{told:?}") };
    assert!(matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{error}");
    assert_eq!(log.ids().await, [0_i64; 0]);
}

#[tokio::test]
async fn the_chain_of_an_error_is_kept() {
    let log = Log::new(1).await;
    let told: anyhow::Result<()> = log
        .runner
        .run("any", async |tx: &Tx| {
            insert(tx, 1).await?;
            Err(anyhow::anyhow!("root").context("outer"))
        })
        .await;
    assert_eq!(format!("{:#}", told.expect_err("its own")), "outer: root");
    let boxed: Result<(), Box<dyn Error + Send + Sync>> =
        log.runner.run("boxed", async |tx: &Tx| Ok(insert(tx, 1).await?)).await;
    boxed.expect("a free id");
    assert_eq!(log.ids().await, [1]);
}

#[tokio::test]
async fn an_error_that_the_body_ignores_fails_the_run() {
    let log = Log::new(1).await;
    let told: Result<(), DbErr> = log
        .runner
        .run("swallow", async |tx: &Tx| {
            insert(tx, 1).await?;
            let _ = insert(tx, 1).await;
            Ok(())
        })
        .await;
    let error = told.expect_err("the second insert failed");
    let ended = Ended::of(&error).expect("it is found in the DbErr");
    assert_eq!((ended.kind(), ended.may_be_applied(), ended.name()), (Kind::Failed, false, "swallow"));
    assert_eq!(ended.attempts().len(), 1);
    assert_eq!(sqlstate(ended.first()).as_deref(), Some("1555"));
    assert_eq!(sqlstate(&error).as_deref(), Some("1555"), "the code comes with it");
    let text = ended.to_string();
    assert_eq!(
        text, "transaction \"swallow\": failed: UNIQUE constraint failed: log.id",
        "the server's own words"
    );
    assert_eq!(reason(&error), text);
    assert_eq!(ended.summary(), "failed: UNIQUE constraint failed: log.id");
    assert!(ended.source().is_some_and(|source| source.to_string().contains("UNIQUE")));
    assert_eq!(log.ids().await, [0_i64; 0]);
}

#[tokio::test]
async fn exhaustion_has_the_first_error_as_source_and_the_bodys_in_its_text() {
    let log = Log::new(1).await;
    let runner = log.runner.under(Policy { attempts_max: 3, ..Policy::default() });
    let told: anyhow::Result<()> = runner
        .run("again", async |tx: &Tx| {
            insert(tx, 1).await?;
            let _ = tx.again(&format!("try {}", tx.attempt()));
            Err(anyhow::anyhow!("root").context("outer"))
        })
        .await;
    let error = told.expect_err("three times");
    let ended = error.downcast_ref::<Ended>().expect("an Ended");
    assert_eq!((ended.kind(), ended.attempts().len()), (Kind::RetriesExhausted, 3));
    assert_eq!(
        ended.to_string(),
        "transaction \"again\": given up: try 1 (3 attempts: conflict, conflict, conflict); \
         its body said: outer: root"
    );
    assert_eq!(log.ids().await, [0_i64; 0]);
}

#[tokio::test]
async fn a_connection_without_a_pool_is_an_error() {
    let runner = Runner::new(&DatabaseConnection::default(), Policy::default());
    let told: Result<(), DbErr> = runner.run("nowhere", async |_: &Tx| Ok(())).await;
    let error = told.expect_err("disconnected").to_string();
    assert!(error.contains("not a pool of PostgreSQL, CockroachDB or SQLite"), "{error}");
}

#[test]
fn outside_a_runtime_a_run_is_an_error() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let log = runtime.block_on(Log::new(1));
    let mut run = Box::pin(log.runner.run("nowhere", async |_: &Tx| Ok::<_, DbErr>(())));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(told) = run.as_mut().poll(&mut context) else { panic!("the run waits") };
    assert!(told.expect_err("no runtime").to_string().contains("needs a tokio runtime"));
    drop(run);
    runtime.block_on(async { drop(log) });
}

#[tokio::test]
async fn a_run_in_a_run_is_refused_on_the_same_pool_and_allowed_on_another() {
    let (log, other) = (Log::new(2).await, Log::new(1).await);
    let nested: Result<(), DbErr> = log
        .runner
        .run("outer", async |tx: &Tx| {
            insert(tx, 1).await?;
            Runner::new(&log.db, Policy::default()).run("inner", async |tx: &Tx| insert(tx, 2).await).await
        })
        .await;
    let error = nested.expect_err("a second transaction");
    assert!(error.to_string().contains("use the Tx at hand"), "{error}");
    assert_eq!(Ended::of(&error).map(|ended| (ended.kind(), ended.name())), Some((Kind::Refused, "inner")));
    let elsewhere: Result<(), DbErr> = log
        .runner
        .run("outer", async |tx: &Tx| {
            insert(tx, 1).await?;
            other.runner.run("inner", async |tx: &Tx| insert(tx, 2).await).await
        })
        .await;
    elsewhere.expect("two databases");
    assert_eq!((log.ids().await, other.ids().await), (vec![1], vec![2]));
}

#[tokio::test]
async fn a_nested_run_in_a_task_ends_in_time_with_an_error_that_names_it() {
    let log = Log::new(1).await;
    let runner = log.runner.under(Policy { total_time: Duration::from_millis(500), ..Policy::default() });
    let started = std::time::Instant::now();
    let told: Result<(), DbErr> = log
        .runner
        .run("outer", async |_: &Tx| {
            let runner = runner.clone();
            let hidden =
                tokio::spawn(async move { runner.run("hidden", async |tx: &Tx| insert(tx, 1).await).await });
            hidden.await.expect("no panic")
        })
        .await;
    let error = told.expect_err("the only connection is held by the body");
    assert!(error.to_string().contains("transaction \"hidden\": given up"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn proofs_are_refused_where_they_were_not_promised() {
    let log = Log::new(1).await;
    for applied in [true, false] {
        let told: Result<(), DbErr> = log
            .runner
            .run("plain", async |tx: &Tx| {
                insert(tx, 1).await?;
                if applied {
                    tx.proved_applied()
                } else {
                    tx.proved_not_applied()
                }
                Ok(())
            })
            .await;
        assert!(told.expect_err("not promised").to_string().contains("use `run_idempotent`"));
    }
    assert_eq!(log.ids().await, [0_i64; 0]);
}

#[tokio::test]
async fn options_of_cockroachdb_are_refused_elsewhere_before_anything_is_sent() {
    let log = Log::new(1).await;
    let past = Some(Duration::from_secs(1));
    for policy in [
        Policy { savepoint_restarts: Some(1), ..Policy::default() },
        Policy { read_as_of: past, ..Policy::default() },
    ] {
        let told: Result<(), DbErr> = log.runner.under(policy).run("past", async |_: &Tx| Ok(())).await;
        let error = told.expect_err("SQLite");
        assert_eq!(Ended::of(&error).map(Ended::kind), Some(Kind::Refused), "{error}");
    }
}

#[tokio::test]
async fn a_deferred_constraint_that_fails_at_commit_is_an_error() {
    let log = Log::new(1).await;
    let create = "CREATE TABLE child (id BIGINT REFERENCES log DEFERRABLE INITIALLY DEFERRED)";
    log.db.execute_unprepared(create).await.expect("a new table");
    log.db.execute_unprepared("PRAGMA foreign_keys = ON").await.expect("the only connection");
    let told: Result<(), DbErr> = log
        .runner
        .run("orphan", async |tx: &Tx| tx.execute_unprepared("INSERT INTO child VALUES (9)").await.map(drop))
        .await;
    let error = told.expect_err("no such parent");
    assert_eq!(Ended::of(&error).map(Ended::kind), Some(Kind::Failed), "{error}");
    insert(&log.db, 1).await.expect("no transaction is open");
    assert_eq!(
        open(&log.url, 1).await.execute_unprepared("DELETE FROM child").await.map(|it| it.rows_affected()),
        Ok(0)
    );
}
