//! A COMMIT that waits for a synchronous standby: committed here, not acknowledged. Whoever finds it tells it applied only
//! after a COMMIT of its own has waited for the same.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx};
use tests::{OwnServer, Postgres, Test, TestServer, tests};

use super::{POSTGRES, execute, open, scalar};

pub(crate) fn tests() -> Vec<Test> {
    tests![nothing_is_told_applied_that_no_standby_has on POSTGRES]
}

async fn body(tx: &Tx) -> Result<bool, DbErr> {
    let written = tx.execute_unprepared("INSERT INTO log (id) VALUES (7) ON CONFLICT DO NOTHING").await?;
    if written.rows_affected() == 0 {
        tx.proved_applied();
    } else {
        tx.proved_not_applied();
    }
    Ok(written.rows_affected() == 1)
}

/// The same in one autocommitted statement.
async fn statement(tx: &Tx) -> Result<bool, DbErr> {
    let written = tx.execute_unprepared("INSERT INTO log (id) VALUES (7) ON CONFLICT DO NOTHING").await?;
    if written.rows_affected() == 0 {
        tx.proved_applied();
    }
    Ok(written.rows_affected() == 1)
}

async fn waiting(db: &sea_orm::DatabaseConnection) -> i64 {
    scalar(db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await.expect("readable")
}

fn is_unknown(told: Result<bool, DbErr>) -> bool {
    told.is_err_and(|error| Ended::of(&error).is_some_and(|ended| ended.kind() == Kind::Unknown))
}

async fn nothing_is_told_applied_that_no_standby_has(_: &TestServer) {
    let Some(programs) = Postgres::find() else { return };
    let own = OwnServer::Postgres(Postgres::start(&programs).await.expect("it starts"));
    let bank = own.bank().await;
    let admin = open(bank.url(), 1).await;
    execute(&admin, "CREATE TABLE log (id BIGINT PRIMARY KEY)").await;
    execute(&admin, "SET synchronous_commit = local").await;
    execute(&admin, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    execute(&admin, "SELECT pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let db = open(bank.url(), 4).await;
    let runner = Runner::new(
        &db,
        Policy {
            answer_deadline: Duration::from_millis(700),
            total_time: Duration::from_secs(3),
            ..Policy::default()
        },
    );
    let started = Instant::now();
    assert!(is_unknown(runner.run_idempotent("insert", body).await), "no standby has it");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(waiting(&admin).await >= 1, "who waits for a standby is not ended");
    // The wait of the first is over for its own session alone: the row is visible, and no standby has it.
    execute(&admin, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scalar(&admin, "SELECT count(*) FROM log").await, Ok(1));
    assert!(is_unknown(runner.run_idempotent("found", body).await), "found, and acknowledged by nobody");
    assert!(is_unknown(runner.statement("found", statement).await), "found, and acknowledged by nobody");
    execute(&admin, "ALTER SYSTEM RESET synchronous_standby_names").await;
    execute(&admin, "SELECT pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        runner.run_idempotent("found", body).await,
        Ok(false),
        "the standbys that are asked for have it"
    );
    assert_eq!(runner.statement("found", statement).await, Ok(false));
}
