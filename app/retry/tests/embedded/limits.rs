//! The bounds of a run, and its observers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbErr, Statement, Value};
use sea_orm_retry::{AttemptEnded, Class, Ended, Kind, Observer, Policy, RunEnded, Runner, Tx, sqlstate};

use crate::counter::Counter;
use crate::{Log, ids, insert};

async fn conflict(tx: &Tx) -> Result<(), DbErr> {
    Err(tx.again("on purpose"))
}

#[tokio::test]
async fn attempts_are_bounded() {
    let log = Log::new(1).await;
    for attempts_max in [1, 2, 5] {
        let counter = Arc::new(Counter::default());
        let policy = Policy { attempts_max, pause_max: Duration::from_millis(1), ..Policy::default() };
        let runner = log.runner.under(policy).observed_by(counter.clone());
        let error = runner.run("never", conflict).await.expect_err("never");
        let attempts = Ended::of(&error).expect("an Ended").attempts().len();
        assert_eq!(attempts, attempts_max as usize);
        let counts = counter.counts();
        assert_eq!((counts.transactions, counts.attempts), (1, u64::from(attempts_max)));
        assert_eq!(counts.retries, u64::from(attempts_max) - 1);
        assert_eq!(counts.retries_by_sqlstate.get("conflict").copied().unwrap_or(0), counts.retries);
        assert!(counts.paused <= Duration::from_millis(counts.retries) && counts.unknown == 0, "{counts:?}");
    }
}

#[tokio::test]
async fn time_is_bounded_and_no_attempt_begins_with_none_left() {
    let log = Log::new(1).await;
    for total_ms in [0, 30, 200] {
        let total_time = Duration::from_millis(total_ms);
        let policy = Policy { total_time, pause_max: Duration::from_millis(5), ..Policy::default() };
        let started = Instant::now();
        let late = Mutex::new(Duration::ZERO);
        let body = async |tx: &Tx| {
            *late.lock().expect("no panic") = started.elapsed();
            conflict(tx).await
        };
        let error = log.runner.under(policy).run("never", body).await.expect_err("never");
        assert_eq!(Ended::of(&error).map(Ended::kind), Some(Kind::RetriesExhausted));
        let late = late.into_inner().expect("no panic");
        assert!(late <= total_time + Duration::from_millis(500), "{late:?} of {total_time:?}");
    }
}

#[tokio::test]
async fn a_pool_that_is_busy_for_longer_than_its_own_limit_is_waited_for() {
    let log = Log::new(1).await;
    let mut options = ConnectOptions::new(&log.url);
    options.max_connections(1).acquire_timeout(Duration::from_millis(20)).sqlx_logging(false);
    let db = Database::connect(options).await.expect("a file");
    let held = db.get_sqlite_connection_pool().acquire().await.expect("the only connection");
    let counter = Arc::new(Counter::default());
    let runner = Runner::new(&db, Policy::default()).observed_by(counter.clone());
    let run = runner.run("insert", async |tx: &Tx| insert(tx, 1).await);
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(held);
    };
    tokio::join!(run, release).0.expect("applied");
    assert!(counter.counts().retries > 0, "an attempt has found the pool busy");
    assert_eq!(log.ids().await, [1]);
}

#[tokio::test]
async fn a_missing_answer_ends_at_its_deadline() {
    let log = Log::new(1).await;
    let slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT max(i) FROM n";
    let policy = Policy { attempts_max: 1, answer_deadline: Duration::from_millis(20), ..Policy::default() };
    let body = async |tx: &Tx| tx.execute_unprepared(slow).await.map(drop);
    let error = log.runner.under(policy).run("slow", body).await.expect_err("too slow");
    let ended = Ended::of(&error).expect("an Ended");
    assert_eq!(ended.attempts()[0].class, Class::Lost, "{error}");
    assert!(error.to_string().contains("did not answer within 20 ms"), "{error}");
}

#[tokio::test]
async fn an_unfinished_statement_is_retried() {
    let log = Log::new(2).await;
    // It goes on, and holds the write lock, for which the second attempt waits at most 5 s.
    let slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n";
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        if tx.attempt() == 1 {
            let slow = tx.execute_unprepared(slow);
            assert!(tokio::time::timeout(Duration::from_millis(5), slow).await.is_err(), "too fast");
        }
        // The body does not see the error, but the attempt must fail.
        Ok::<_, DbErr>(tx.attempt())
    };
    assert_eq!(log.runner.run("slow", body).await, Ok(2));
    assert_eq!(log.ids().await, [1]);
}

#[tokio::test]
async fn too_many_parameters_are_refused_before_they_are_sent() {
    let log = Log::new(1).await;
    let values: Vec<Value> = (0..40_000_i64).map(Into::into).collect();
    let started = Instant::now();
    let body = async |tx: &Tx| {
        let text = format!("INSERT INTO log VALUES {}", vec!["(?)"; values.len()].join(", "));
        tx.execute_raw(Statement::from_sql_and_values(tx.get_database_backend(), text, values.clone()))
            .await
            .map(drop)
    };
    let error = log.runner.run("many", body).await.expect_err("too many");
    assert!(error.to_string().contains("split it"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "at once: {:?}", started.elapsed());
}

/// The statement runs on behind its deadline, and the connection is the database.
#[tokio::test]
async fn an_in_memory_database_outlives_a_statement_that_runs_long() {
    const LONG: Duration = Duration::from_secs(13);
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).acquire_timeout(20 * LONG).sqlx_logging(false);
    let db = Database::connect(options).await.expect("a database");
    db.execute_unprepared("CREATE TABLE log (id BIGINT PRIMARY KEY)").await.expect("a new table");
    insert(&db, 1).await.expect("a free id");
    let count = |to: u128| {
        format!(
            "SELECT count(*) FROM (WITH RECURSIVE n (value) AS \
             (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {to}) SELECT * FROM n)"
        )
    };
    let started = Instant::now();
    db.execute_unprepared(&count(1_000_000)).await.expect("a count");
    let long = count(1_000_000 * LONG.as_micros() / started.elapsed().as_micros());
    let policy = Policy { attempts_max: 1, answer_deadline: Duration::from_millis(100), ..Policy::default() };
    let runner = Runner::new(&db, policy);
    let error = runner.run("count", async |tx: &Tx| tx.execute_unprepared(&long).await.map(drop)).await;
    assert!(error.expect_err("it takes longer").to_string().contains("did not answer within 100 ms"));
    tokio::time::sleep(LONG).await;
    assert_eq!(ids(&db).await, Ok(vec![1]));
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn run_began(&self, name: &'static str) {
        self.0.lock().expect("no panic").push(format!("{name} began"));
    }

    fn attempt_ended(&self, it: &AttemptEnded<'_>) {
        let told = format!(
            "{} {}: {:?} {:?} {}",
            it.name,
            it.number,
            it.failure.map(|failure| failure.phase),
            it.failure.and_then(|failure| sqlstate(&failure.error)),
            it.retry_in.is_some()
        );
        self.0.lock().expect("no panic").push(told);
    }

    fn run_ended(&self, run: &RunEnded) {
        assert!(run.took >= run.paused);
        self.0
            .lock()
            .expect("no panic")
            .push(format!("{}: {:?} after {}", run.name, run.outcome, run.attempts));
    }
}

#[tokio::test]
async fn an_observer_sees_every_attempt_and_run() {
    let log = Log::new(1).await;
    let told = Arc::new(Told::default());
    let runner = log.runner.clone().observed_by(told.clone());
    let second = async |tx: &Tx| if tx.attempt() == 1 { conflict(tx).await } else { insert(tx, 1).await };
    runner.run("second", second).await.expect("the second attempt");
    runner.run("taken", async |tx: &Tx| insert(tx, 1).await).await.expect_err("the id is taken");
    assert_eq!(
        *told.0.lock().expect("no panic"),
        [
            "second began",
            "second 1: Some(Body) None true",
            "second 2: None None false",
            "second: Ok(()) after 2",
            "taken began",
            "taken 1: Some(Body) Some(\"1555\") false",
            "taken: Err(Failed) after 1",
        ]
    );
}
