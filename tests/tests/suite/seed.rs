//! Seeding: exact numbers, in whole chunks, each applied once.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::{Duration, Instant};

use ::entity::batches;
use sea_orm::EntityTrait;
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::Error;
use seabank::bank::SizeChanged;
use seabank::bank::load::{LoadError, Loaded, Loading};
use seabank::bank::seed::{BALANCE_LIMIT, Collisions, ID_LIMIT};
use serde_json::Value;
use tests::{Loss, Tap, Test, TestDatabase, TestServer, tests};
use uuid::Uuid;

use crate::books::{everything, loading, tapped};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        the_requested_number_is_added,
        a_taken_number_is_drawn_again,
        a_seeded_run_is_repeatable,
        a_stopped_run_is_completed,
        a_killed_run_is_completed,
        a_chunk_with_a_lost_answer_is_not_added_twice,
        a_run_repeated_with_other_chunks_is_refused,
        concurrent_seeds_both_add_their_accounts,
        more_accounts_than_there_are_numbers_are_refused,
    ]
}

const COUNT: u64 = 250;
const RNG_SEED: u64 = 42;

fn run(number: u128) -> Loading {
    loading(Uuid::from_u128(number), 100)
}

fn on(database: &database::Database) -> Bank {
    Bank::new(database, Policy::default())
}

async fn all(bank: &Bank, loading: &Loading) -> Loaded<Collisions> {
    bank.seed(COUNT, RNG_SEED, loading, |_| ()).await.expect("seeded")
}

async fn batch_rows(database: &database::Database) -> Vec<i64> {
    let batches = batches::Entity::find().all(&database.connection).await.expect("the batches can be read");
    let mut rows: Vec<_> = batches.into_iter().map(|batch| batch.rows).collect();
    rows.sort_unstable();
    rows
}

async fn the_requested_number_is_added(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let seeded = all(&on(&database), &run(7)).await;
    assert_eq!((seeded.rows, seeded.found, seeded.chunks), (250, 0, 3));
    let (accounts, _) = everything(&database).await;
    assert_eq!(accounts.len(), 250);
    for account in accounts {
        assert!(
            (0..ID_LIMIT).contains(&account.id) && (0..BALANCE_LIMIT).contains(&account.balance),
            "{account:?}"
        );
        assert_eq!(account.balance, account.opening_balance);
    }
    assert_eq!(batch_rows(&database).await, [50, 100, 100]);
}

async fn a_taken_number_is_drawn_again(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let bank = on(&database);
    assert_eq!(all(&bank, &run(7)).await.done, Collisions(0));
    let again = all(&bank, &run(8)).await;
    assert_eq!((again.rows, again.done), (250, Collisions(250)));
    assert_eq!(everything(&database).await.0.len(), 500);
}

async fn a_seeded_run_is_repeatable(server: &TestServer) {
    let mut drawn = Vec::new();
    for (number, rng_seed) in [(1, 42), (2, 42), (3, 43)] {
        let test = server.database().await;
        let database = test.connect().await;
        on(&database).seed(COUNT, rng_seed, &run(number), |_| ()).await.expect("seeded");
        let (accounts, _) = everything(&database).await;
        drawn
            .push(accounts.into_iter().map(|account| (account.id, account.balance)).collect::<BTreeSet<_>>());
    }
    assert_eq!(drawn[0], drawn[1]);
    assert!(drawn[0].is_disjoint(&drawn[2]));
}

async fn a_stopped_run_is_completed(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let bank = on(&database);
    let one_at_a_time = Loading { concurrency: NonZero::<usize>::MIN, ..run(7) };
    let stop = one_at_a_time.stop.clone();
    let stopped = bank.seed(COUNT, RNG_SEED, &one_at_a_time, |loaded| {
        if loaded.chunks == 2 {
            stop.cancel();
        }
    });
    assert_eq!(stopped.await.expect("stopped, not failed").rows, 200);
    let rest = all(&bank, &run(7)).await;
    assert_eq!((rest.rows, rest.found), (50, 200));
    let nothing = all(&bank, &run(7)).await;
    assert_eq!((nothing.rows, nothing.found), (0, 250));
    assert_eq!(everything(&database).await.0.len(), 250);
}

async fn a_killed_run_is_completed(server: &TestServer) {
    const COUNT: usize = 20_000;
    let test = server.database().await;
    let database = test.connect().await;
    let arguments = [
        "seed",
        "--count",
        "20000",
        "--chunk",
        "100",
        "--format",
        "json",
        "--run",
        "00000000-0000-0000-0000-000000000009",
    ];
    let mut killed = test.spawn("seabank", &arguments);
    let started = Instant::now();
    while everything_count(&database).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing was seeded");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    killed.kill().expect("the command runs");
    killed.wait().expect("the process ends");
    let before = everything_count(&database).await;
    assert!(before < COUNT && before % 100 == 0, "whole chunks, but not all of them: {before}");

    let output = test.seabank().args(arguments).output().expect("the command runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    // A request of the killed process may have committed since.
    assert_eq!(answer["created"].as_u64().unwrap_or(0) + answer["found"].as_u64().unwrap_or(0), COUNT as u64);
    assert!(answer["found"].as_u64() >= Some(before as u64), "{answer}");
    assert_eq!(everything_count(&database).await, COUNT);
}

async fn everything_count(database: &database::Database) -> usize {
    usize::try_from(tests::scalar(database, "SELECT count(*) FROM accounts").await).expect("a count")
}

async fn a_chunk_with_a_lost_answer_is_not_added_twice(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let tap = Tap::new(&database).losing(&[
        Loss::AfterCommit,
        Loss::BeforeCommit,
        Loss::BeforeCommit,
        Loss::AfterCommit,
    ]);
    let bank = Bank::on(tapped(&tap, Policy::default()));
    let seeded = all(&bank, &run(7)).await;
    assert_eq!((seeded.chunks, bank.counts().unknown), (3, 0));
    assert!(bank.counts().retries >= 3, "{:?}", bank.counts());
    assert_eq!(everything(&database).await.0.len(), 250);
    assert_eq!(batch_rows(&database).await, [50, 100, 100]);
}

async fn a_run_repeated_with_other_chunks_is_refused(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let bank = on(&database);
    all(&bank, &run(7)).await;
    let before = everything(&database).await;
    let other = loading(Uuid::from_u128(7), 60);
    let (error, _) =
        bank.seed(COUNT, RNG_SEED, &other, |_| ()).await.expect_err("the first chunk has 100 rows");
    assert!(
        matches!(error, Error::Body(LoadError::SizeChanged(SizeChanged { recorded: 100, asked: 60 }))),
        "{error}"
    );
    assert!(everything(&database).await == before);
}

async fn concurrent_seeds_both_add_their_accounts(server: &TestServer) {
    let test = server.database().await;
    let seed = |test: &TestDatabase| test.spawn("seabank", &["seed", "--count", "500", "--chunk", "10"]);
    let (mut one, mut other) = (seed(&test), seed(&test));
    assert!(
        one.wait().expect("the process ends").success() && other.wait().expect("the process ends").success()
    );
    assert_eq!(everything_count(&test.connect().await).await, 1000);
}

async fn more_accounts_than_there_are_numbers_are_refused(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "1000000001"]).assert().code(2);
    assert_eq!(everything_count(&test.connect().await).await, 0);
}
