//! Conflicts: no update is lost, and every transaction succeeds within the default retry budget.
#![expect(clippy::print_stdout, reason = "the retries are to be seen")]

use std::time::Duration;

use database::Options;
use sea_orm::DbErr;
use sea_orm_retry::Policy;
use seabank::bank::Runner;
use seabank::bank::transfer::Style;
use serde_json::Value;
use tests::{Test, TestServer, scalar, scalar_in, tests};
use tokio::task::JoinSet;

use crate::background::Background;
use crate::books::{execute, insert_account};
use crate::crash::assert_whole;

pub(crate) fn tests() -> Vec<Test> {
    // A serializable transaction that another test leaves open on the same PostgreSQL makes
    // transactions fail in every database.
    let timed = tests![alone: no_transfer_between_hot_accounts_starves within 600 s];
    let tests = tests![
        concurrent_increments_lose_no_update,
        write_skew_is_prevented,
        sixteen_workers_on_two_accounts_all_succeed,
    ];
    [timed, tests].concat()
}

async fn concurrent_increments_lose_no_update(server: &TestServer) {
    const TASKS: i64 = 32;
    const EACH: i64 = 8;
    let test = server.empty_database().await;
    let database = test.connect_with(&Options { max_connections: 32, ..Options::default() }).await;
    execute(&database, "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)").await;
    execute(&database, "INSERT INTO counter VALUES (1, 0)").await;
    let runner = Runner::new(&database, Policy::default());
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let runner = runner.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                let counted = runner.run("count", async |tx| {
                    let value = scalar_in(tx, "SELECT value FROM counter WHERE id = 1").await?;
                    let update = format!("UPDATE counter SET value = {} WHERE id = 1", value + 1);
                    sea_orm::ConnectionTrait::execute_unprepared(tx, &update).await.map(|_| ())
                });
                counted.await.unwrap_or_else(|error: seabank::bank::Error<DbErr>| panic!("{error}"));
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("every task counts to its end");
    }
    assert_eq!(scalar(&database, "SELECT value FROM counter WHERE id = 1").await, TASKS * EACH);
    let counts = runner.counts();
    println!(
        "{server}: a counter, {TASKS} tasks, {EACH} times each: {} attempts, {} retries {:?}, {:.1?} of pauses in all",
        counts.attempts, counts.retries, counts.retries_by_sqlstate, counts.paused
    );
    assert_eq!(counts.attempts, counts.transactions + counts.retries);
    assert_eq!(counts.unknown, 0);
}

/// Each transaction clears its row if both are set. Write skew would clear both.
async fn write_skew_is_prevented(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect().await;
    execute(&database, "CREATE TABLE on_call (id BIGINT PRIMARY KEY, here BIGINT NOT NULL)").await;
    execute(&database, "INSERT INTO on_call VALUES (1, 1), (2, 1)").await;
    let runner = Runner::new(&database, Policy::default());
    let leave = async |id: i64| {
        let left = runner.run("leave", async |tx| {
            let here = scalar_in(tx, "SELECT count(*) FROM on_call WHERE here = 1").await?;
            if here == 2 {
                let update = format!("UPDATE on_call SET here = 0 WHERE id = {id}");
                sea_orm::ConnectionTrait::execute_unprepared(tx, &update).await?;
            }
            Ok::<_, DbErr>(here == 2)
        });
        left.await.expect("retried until it succeeds")
    };
    for round in 0..40 {
        let (one, other) = tokio::join!(leave(1), leave(2));
        let here = scalar(&database, "SELECT count(*) FROM on_call WHERE here = 1").await;
        assert_eq!((one != other, here), (true, 1), "round {round}: exactly one leaves");
        execute(&database, "UPDATE on_call SET here = 1").await;
    }
}

async fn sixteen_workers_on_two_accounts_all_succeed(server: &TestServer) {
    for style in Style::on(server.server).map(Style::name) {
        let test = server.database().await;
        let database = test.connect().await;
        for id in [1, 2] {
            insert_account(&database, id, 1_000_000).await;
        }
        let transfer =
            ["transfer", "--count", "160", "--amount", "1", "--concurrency", "16", "--format", "json"];
        let output =
            test.seabank().args(transfer).args(["--style", style]).output().expect("the command runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
        println!("{server}: 16 workers, 2 accounts, {style}: {answer}");
        assert_eq!((output.status.code(), &answer["applied"]), (Some(0), &160.into()), "{answer}");
        assert_whole(&test);
    }
}

/// The slowest transfer uses a fifth of its retry budget at most, also on an SQLite file of two
/// processes.
async fn no_transfer_between_hot_accounts_starves(server: &TestServer) {
    const RETRY_FOR: Duration = Duration::from_secs(60);
    for style in Style::on(server.server).map(Style::name) {
        let test = server.database().await;
        let database = test.connect().await;
        for id in 1..=16 {
            insert_account(&database, id, 1_000_000_000).await;
        }
        let retry_for = RETRY_FOR.as_secs().to_string();
        let load = ["workload", "--hot", "2", "--amount", "1", "--duration", "8s"];
        let load = [&load[..], &["--concurrency", "8", "--retry-for", &retry_for, "--style", style]].concat();
        let loads = [(); 2].map(|()| Background::start(&test, &load));
        for load in loads {
            let told = load.end().await;
            println!("{server}: --hot 2, {style}, one of two processes: {}", told.answer);
            assert_eq!((told.code, told.count("failed"), told.count("unknown")), (Some(0), 0, 0), "{told:?}");
            let longest = told.answer["max_ms"].as_f64().expect("a number");
            assert!(longest <= RETRY_FOR.as_secs_f64() * 1000.0 / 5.0, "{style}: {longest} ms");
        }
        assert_whole(&test);
    }
}
