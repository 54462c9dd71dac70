//! `Bank::pay`: many transfers in one transaction (guarantees 1 and 2).

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::num::NonZero;
use std::time::Duration;

use database::{Address, Database, Options, Server, connect};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm_retry::Policy;
use seabank::bank::file::OnError;
use seabank::bank::load::Loading;
use seabank::bank::pay::{Outcome, Paid};
use seabank::bank::transfer::{By, Field, Many, Order, Refusal, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank, Error};
use tests::{Cut, Fault, Kind, Loss, Request, Tap, Test, TestServer, scalar, tests};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::{balances, execute, insert_account, loading, recorded, tapped};
use faults::{
    a_chunk_of_payments_that_is_too_large_is_halved, a_connection_that_breaks_anywhere_applies_a_chunk_once,
    a_payment_that_waits_for_a_deposit_is_decided_with_it,
    a_refusal_with_a_lost_answer_is_reported_unchanged, a_run_that_stops_anywhere_is_completed,
    an_id_written_concurrently_is_applied_once, conflicting_chunks_are_all_applied,
    payments_with_lost_answers_are_reported_correctly,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_batch_has_the_outcomes_of_single_transfers,
        the_number_of_statements_does_not_depend_on_the_size,
        a_batch_draws_as_single_transfers_do_in_one_statement,
        payments_with_lost_answers_are_reported_correctly,
        a_refusal_with_a_lost_answer_is_reported_unchanged,
        a_connection_that_breaks_anywhere_applies_a_chunk_once on WIRE,
        a_run_that_stops_anywhere_is_completed,
        conflicting_chunks_are_all_applied,
        an_id_written_concurrently_is_applied_once,
        a_payment_that_waits_for_a_deposit_is_decided_with_it on WIRE,
        a_chunk_of_payments_that_is_too_large_is_halved on &[Server::Postgres],
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

fn order(id: u128, source: i64, target: i64, amount: i64) -> Order {
    let (source, target) = (AccountId(source), AccountId(target));
    let amount = Some(Amount::new(amount).expect("positive"));
    let request = TransferRequest { source: Some(source), target: Some(target), amount };
    Order::new(Uuid::from_u128(id), source, target, request)
}

async fn bank(server: &TestServer) -> (tests::TestDatabase, Database) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=10 {
        insert_account(&database, id, 1000).await;
    }
    (test, database)
}

async fn assert_whole(database: &Database) {
    let audit = Bank::new(database, Policy::default()).audit().await.expect("readable");
    assert!(audit.ok, "{audit:?}");
}

fn refused(outcome: &Outcome) -> Option<&Refusal> {
    match outcome {
        Err(Error::Body(refusal)) => Some(refusal),
        _ => None,
    }
}

fn by(outcome: &Outcome) -> Option<By> {
    outcome.as_ref().ok().map(|receipt| receipt.by)
}

async fn a_batch_has_the_outcomes_of_single_transfers(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let bank = Bank::new(&database, Policy::default());
    assert!(bank.pay(&[]).await.is_empty());
    let half = Order::new(Uuid::from_u128(9), AccountId(2), AccountId(1), TransferRequest::default());
    let orders = [
        order(1, 1, 2, 1000),
        order(2, 1, 2, 1),
        order(3, 2, 3, 1500),
        order(1, 1, 2, 1000),
        order(1, 1, 2, 999),
        half,
        order(4, 4, 4, 1),
        order(5, 4, 99, 1),
    ];
    let outcomes = bank.pay(&orders).await;
    let told: Vec<_> = outcomes.iter().map(by).collect();
    let (this, earlier) = (Some(By::ThisRun), Some(By::EarlierRun));
    assert_eq!(told, [this, None, this, earlier, None, this, None, None]);
    assert_eq!(outcomes[5].as_ref().map(|receipt| receipt.amount.units()).ok(), Some(250));
    let amount = Amount::new(1).expect("positive");
    let account = AccountId;
    let refusals: Vec<_> = outcomes.iter().filter_map(refused).cloned().collect();
    let id = Uuid::from_u128(1);
    let expected = [
        Refusal::InsufficientFunds { account: account(1), amount },
        Refusal::IdConflict { id, field: Field::Amount, recorded: 1000 },
        Refusal::SameAccount(account(4)),
        Refusal::UnknownAccount(account(99)),
    ];
    assert_eq!(refusals, expected);
    let there = balances(&database).await;
    assert_eq!(there[..4], [(1, 250), (2, 250), (3, 2500), (4, 1000)]);

    // Refusals are decided anew.
    let again = bank.pay(&orders).await;
    assert_eq!(
        again.iter().map(by).collect::<Vec<_>>(),
        [earlier, this, earlier, earlier, None, earlier, None, None]
    );
    assert_whole(&database).await;
}

async fn the_number_of_statements_does_not_depend_on_the_size(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let mut numbers = BTreeSet::new();
    for (round, size) in [1_i64, 10, 1000].into_iter().enumerate() {
        let tap = Tap::new(&database);
        let bank = Bank::on(tapped(&tap, Policy::default()));
        let orders: Vec<Order> = (0..=size)
            .map(|n| {
                let id = (round as u128) << 64 | n as u128;
                if n == size { order(id, 1, 99, 1) } else { order(id, n % 10 + 1, (n + 1) % 10 + 1, 1) }
            })
            .collect();
        let outcomes = bank.pay(&orders).await;
        assert_eq!(outcomes.iter().filter(|it| it.is_ok()).count() as i64, size);
        assert_eq!(tap.verbs().first().map(String::as_str), Some("BEGIN"));
        let batch = &tap.sent()[1].sql;
        assert!(
            batch.replace('"', "").starts_with("INSERT INTO batches"),
            "its own row comes first: {batch}"
        );
        numbers.insert(tap.sent().len());
    }
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    assert!(numbers.first().is_some_and(|number| *number <= 9), "{numbers:?}");
}

async fn a_batch_draws_as_single_transfers_do_in_one_statement(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let bank = Bank::new(&database, Policy::default());
    let range = bank.account_range().await.expect("readable");
    for source in [None, Some(AccountId(1)), Some(AccountId(10))] {
        let request = TransferRequest { source, ..TransferRequest::default() };
        let many = |batch| Many {
            count: 40,
            concurrency: 1,
            run: Uuid::new_v4(),
            request,
            style: Style::default(),
            batch: NonZero::new(batch),
            rng_seed: 7,
        };
        let mut one_by_one = Vec::new();
        for number in 0..40 {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            rng.set_stream(number);
            let order = bank.order(Uuid::new_v4(), request, range.as_ref(), &mut rng).await;
            let order = order.expect("two accounts");
            one_by_one.push((order.source, order.target));
        }
        let mut numbers = BTreeSet::new();
        for batch in [10, 20, 40] {
            let tap = Tap::new(&database);
            let many = many(batch);
            let tapped = Bank::on(tapped(&tap, Policy::default()));
            let mut ended = tapped.transfer_many(many, CancellationToken::new()).await.expect("readable");
            let mut drawn = BTreeMap::new();
            while let Some(it) = ended.recv().await {
                let order = it.order.expect("it was drawn");
                drawn.insert(it.id, (order.source, order.target));
            }
            let drawn: Vec<_> = (0..40).map(|number| drawn[&many.id(number)]).collect();
            assert_eq!(drawn, one_by_one);
            let draws = tap.sent().iter().filter(|it| it.sql.contains("LIMIT 2")).count();
            numbers.insert(draws * batch);
        }
        assert_eq!(numbers, BTreeSet::from([40]), "one statement draws a batch");
    }
    assert_whole(&database).await;
}
