//! Many transfers: random, concurrent, repeated.

use ::entity::transfers;
use database::{Options, Server};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm::EntityTrait;
use seabank::bank::AccountId;
use seabank::bank::transfer::{Style, TransferRequest};
use serde_json::Value;
use tests::{TestDatabase, TestServer};
use uuid::Uuid;

use super::Fixture;

pub(super) async fn a_pair_is_drawn_and_never_the_same_twice(server: &TestServer) {
    let fixture = Fixture::new(server).await;
    let range = fixture.bank.account_range().await.expect("a reading").expect("accounts");
    assert_eq!(range, 1..=4);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for source in [None, Some(AccountId(4)), Some(AccountId(1))] {
        let mut targets = std::collections::BTreeSet::new();
        for number in 0..40 {
            let request = TransferRequest { source, ..TransferRequest::default() };
            let id = Uuid::from_u128(number);
            let order = fixture.bank.order(id, request, Some(&range), &mut rng).await.expect("two accounts");
            assert_ne!(order.source, order.target);
            assert!(source.is_none_or(|source| source == order.source));
            targets.insert(order.target.0);
        }
        assert!(targets.len() >= 3, "every other account is drawn: {targets:?}");
    }
}

pub(super) async fn random_transfers_keep_the_books(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "20"]).assert().success();
    for style in Style::on(server.server) {
        let style = ["--style", style.name()];
        let run =
            ["transfer", "--count", "100", "--concurrency", "4", style[0], style[1], "--format", "json"];
        let answer = json(&test, &run);
        assert_eq!(
            answer["applied"].as_u64().unwrap_or(0) + answer["skipped"].as_u64().unwrap_or(0),
            100,
            "{answer}"
        );
    }
    test.seabank().arg("audit").assert().success();
}

pub(super) async fn many_concurrent_transfers_between_few_accounts_all_succeed(server: &TestServer) {
    for style in Style::on(server.server).filter(|style| *style != Style::Orm) {
        many_concurrent_transfers(server, style).await;
    }
}

pub(super) async fn many_concurrent_transfers(server: &TestServer, style: Style) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "4"]).assert().success();
    let style = ["--style", style.name()];
    let run = ["transfer", "--count", "2000", "--concurrency", "32", style[0], style[1], "--format", "json"];
    let answer = json(&test, &run);
    let count = |key: &str| answer[key].as_u64().unwrap_or_else(|| panic!("{key}: {answer}"));
    assert_eq!(count("applied") + count("skipped"), 2000, "{answer}");
    assert_eq!((count("failed"), count("unknown")), (0, 0), "{answer}");
    println!("{server}: 2000 transfers, 32 at once, 4 accounts: {answer}");
    // SQLite's writers are serialized; on CockroachDB they queue for locks.
    if server.server == Server::Postgres {
        assert!(count("retries") > 0, "32 at once on 4 accounts never met: {answer}");
    }
    let audit = json(&test, &["audit", "--format", "json"]);
    assert_eq!(audit["ok"], true);
    assert_eq!(audit["transfers"], answer["applied"]);
}

pub(super) async fn a_run_told_again_applies_nothing_twice(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "50"]).assert().success();
    let run = Uuid::new_v4().to_string();
    let again = |count: &'static str| {
        ["transfer", "--count", count, "--concurrency", "4", "--format", "json", "--run", run.as_str()]
            .map(str::to_owned)
    };
    let first = json(&test, &again("30"));
    let applied = first["applied"].as_u64().expect("a count");
    let second = json(&test, &again("60"));
    assert_eq!(second["already_applied"].as_u64(), Some(applied), "{second}");
    let database = test.connect_with(&Options::analysis()).await;
    let recorded = transfers::Entity::find().all(&database.connection).await.expect("a query").len() as u64;
    assert_eq!(recorded, applied + second["applied"].as_u64().expect("a count"));
}

pub(super) fn json<S: AsRef<std::ffi::OsStr>>(test: &TestDatabase, arguments: &[S]) -> Value {
    let output = test.seabank().args(arguments).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
