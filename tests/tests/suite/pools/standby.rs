//! Commits that wait for a synchronous standby, and promotions. A found row counts as applied only
//! after a COMMIT that waited too.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx, sqlstate};
use tests::{OwnServer, Postgres, Test, TestServer, tests};

use super::{Log, POSTGRES, execute, insert, open, scalar};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        rows_without_a_standby_are_not_reported_applied on POSTGRES,
        a_hot_standby_is_read_and_its_promotion_waited_for on POSTGRES,
        a_temporarily_read_only_server_is_waited_for on POSTGRES,
    ]
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

/// Autocommitted.
async fn statement(tx: &Tx) -> Result<bool, DbErr> {
    let written = tx.execute_unprepared("INSERT INTO log (id) VALUES (7) ON CONFLICT DO NOTHING").await?;
    if written.rows_affected() == 0 {
        tx.proved_applied();
    }
    Ok(written.rows_affected() == 1)
}

async fn waiting(db: &DatabaseConnection) -> i64 {
    scalar(db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await.expect("readable")
}

fn is_unknown(told: Result<bool, DbErr>) -> bool {
    told.is_err_and(|error| Ended::of(&error).is_some_and(|ended| ended.kind() == Kind::Unknown))
}

async fn rows_without_a_standby_are_not_reported_applied(_: &TestServer) {
    let Some(programs) = Postgres::find() else { return };
    let own = OwnServer::Postgres(Postgres::start(&programs).await.expect("the server starts"));
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
    assert!(waiting(&admin).await >= 1, "a session that waits for a standby is not ended");
    // Cancels the wait: the row becomes visible, and no standby has it.
    execute(&admin, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scalar(&admin, "SELECT count(*) FROM log").await, Ok(1));
    assert!(is_unknown(runner.run_idempotent("found", body).await), "found, but not acknowledged");
    assert!(is_unknown(runner.statement("found", statement).await), "found, but not acknowledged");
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

async fn insert_within(db: &DatabaseConnection, id: i64, total_time: Duration) -> Result<(), DbErr> {
    let runner = Runner::new(db, Policy { total_time, ..Policy::default() });
    runner.run("insert", async |tx: &Tx| insert(tx, id).await).await
}

fn is_given_up(told: Result<(), DbErr>, codes: &[&str]) {
    let error = told.expect_err("nothing can be written");
    let ended = Ended::of(&error).unwrap_or_else(|| panic!("{error}"));
    assert!(ended.kind() == Kind::RetriesExhausted && !ended.may_be_applied(), "{error}");
    let code = sqlstate(ended.first()).map(|code| code.into_owned()).unwrap_or_default();
    assert!(codes.contains(&code.as_str()), "{code}: {error}");
}

async fn a_hot_standby_is_read_and_its_promotion_waited_for(_: &TestServer) {
    let programs = Postgres::find().expect("PostgreSQL's programs are installed");
    let primary = Postgres::start(&programs).await.expect("the server starts");
    let standby = primary.standby().await.expect("the server starts");
    let admin = open(&primary.url("postgres"), 1).await;
    execute(&admin, "CREATE TABLE log (id BIGINT PRIMARY KEY)").await;
    let db = open(&standby.url("postgres"), 2).await;
    while scalar(&db, "SELECT count(*) FROM log").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    is_given_up(insert_within(&db, 1, Duration::from_secs(1)).await, &["0A000", "25006"]);
    let runner = Runner::new(&db, Policy::default());
    let count = runner.read("count", async |tx: &Tx| scalar(tx, "SELECT count(*) FROM log").await).await;
    assert_eq!(count.expect("a standby is read"), 0);

    let waiting = insert_within(&db, 2, Duration::from_secs(60));
    let promoting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let other = open(&standby.url("postgres"), 1).await;
        execute(&other, "SELECT pg_promote()").await;
    };
    let (written, ()) = tokio::join!(waiting, promoting);
    written.expect("the promoted server takes it");
    assert_eq!(scalar(&db, "SELECT count(*) FROM log").await.expect("readable"), 1);
}

/// As after a switchover: only new connections reach the primary.
async fn a_temporarily_read_only_server_is_waited_for(server: &TestServer) {
    let log = Log::new(server, 2).await;
    let name = &log.test.name;
    execute(&log.db, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let db = open(log.test.url(), 2).await;
    is_given_up(insert_within(&db, 1, Duration::from_secs(1)).await, &["25006"]);
    let waiting = insert_within(&db, 2, Duration::from_secs(60));
    let switching = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        execute(&log.db, &format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    };
    let (written, ()) = tokio::join!(waiting, switching);
    written.expect("a new connection takes it");
    assert_eq!(log.count().await, 1);
}
