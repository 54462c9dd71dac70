//! A worker keeps its connection, returns it, and can be dropped at any point.

use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, Database, DbErr};
use sea_orm_retry::{Policy, Runner, Tx};

use crate::{Log, insert};

async fn nothing(worker: &Runner) {
    worker.run("nothing", async |_: &Tx| Ok::<_, DbErr>(())).await.expect("applied");
}

fn idle(log: &Log) -> usize {
    log.db.get_sqlite_connection_pool().num_idle()
}

#[tokio::test]
async fn a_worker_keeps_its_connection_and_returns_it_when_idle() {
    let log = Log::new(1).await;
    let worker = log.runner.worker();
    for (id, runs) in [(1, 1), (2, 3)] {
        for _ in 0..runs {
            nothing(&worker).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(idle(&log), 0, "the connection is kept");
        }
        let started = Instant::now();
        insert(&log.db, id).await.expect("the only connection comes back");
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
    nothing(&worker).await;
}

/// Where the machine stands still for 200 ms, connections are released meanwhile: then once more.
#[tokio::test]
async fn a_worker_under_another_policy_shares_its_connection_unless_statements_are_named_otherwise() {
    let log = Log::new(2).await;
    let kept = || log.db.get_sqlite_connection_pool().size() as usize - idle(&log);
    for (unnamed_statements, expected) in [(false, 1), (true, 2)] {
        let policy = Policy { unnamed_statements, attempts_max: 7, ..Policy::default() };
        let mut seen = Vec::new();
        while !seen.contains(&expected) {
            assert!(seen.len() < 20, "{unnamed_statements}: {seen:?}");
            while kept() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let worker = log.runner.worker();
            let other = worker.under(policy.clone());
            nothing(&worker).await;
            nothing(&other).await;
            seen.push(kept());
        }
    }
}

#[tokio::test]
async fn overlapping_runs_of_a_worker_take_turns() {
    let log = Log::new(1).await;
    let worker = log.runner.worker();
    let order = std::sync::Mutex::new(Vec::new());
    let note = async |name: &'static str| {
        let body = async |_: &Tx| {
            order.lock().expect("no panic").push(name);
            Ok::<_, DbErr>(())
        };
        worker.run(name, body).await.expect("applied");
    };
    let first = async {
        note("first").await;
        note("third").await;
    };
    tokio::join!(first, note("second"));
    assert_eq!(*order.lock().expect("no panic"), ["first", "second", "third"]);
}

#[tokio::test]
async fn a_busy_worker_lets_others_use_its_connection() {
    let log = Log::new(1).await;
    let worker = log.runner.worker();
    let started = Instant::now();
    let busy = async {
        loop {
            nothing(&worker).await;
        }
    };
    tokio::select! {
        () = busy => unreachable!("it never ends"),
        other = insert(&log.db, 1) => other.expect("the connection becomes free"),
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_worker_is_dropped_outside_a_runtime_and_while_unwinding() {
    for min_connections in [0, 1] {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (log, worker, second) = runtime.block_on(async {
            let log = Log::new(3).await;
            let mut options = ConnectOptions::new(&log.url);
            options.max_connections(3).min_connections(min_connections).sqlx_logging(false);
            let db = Database::connect(options).await.expect("a file");
            let runner = Runner::new(&db, Policy::default());
            (log, runner.worker(), runner.worker())
        });
        runtime.block_on(nothing(&worker));
        drop(worker);
        runtime.block_on(nothing(&second));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = second;
            panic!("on purpose");
        }));
        assert!(unwound.is_err());
        let third = runtime.block_on(async {
            let third = log.runner.worker();
            nothing(&third).await;
            third
        });
        {
            let mut run =
                Box::pin(third.run("half", async |_: &Tx| std::future::pending::<Result<(), DbErr>>().await));
            runtime.block_on(async {
                assert!(tokio::time::timeout(Duration::from_millis(20), run.as_mut()).await.is_err());
            });
        }
        runtime.block_on(nothing(&third));
        drop(runtime);
        drop(third);
    }
}
