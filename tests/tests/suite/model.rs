//! Random transfers against a model (guarantees 1, 2 and 3). Some sequential order explains all
//! outcomes and balances, in any style or in chunks, concurrent, and with lost answers to COMMIT.
//! Transfers of one transaction are adjacent in that order.
#![expect(
    clippy::print_stdout,
    reason = "the seed is to be seen: PROPTEST_RNG_SEED repeats a run, PROPTEST_CASES makes it longer"
)]

mod books;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use books::Books;
use database::{Database, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestCaseResult, TestRunner};
use sea_orm_retry::Policy;
use seabank::bank::Error;
use seabank::bank::pay::{Decision, decide};
use seabank::bank::transfer::{By, Order, Receipt, Refusal, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank};
use tests::{Loss, Tap, Test, TestServer, tests};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::books::{everything, execute, tapped};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        some_order_of_the_transfers_explains_every_outcome,
        a_chunk_agrees_with_the_model on &[Server::Sqlite],
    ]
}

/// Account 9 is requested and does not exist.
const OPENING: [(i64, i64); 4] = [(1, 100), (2, 40), (3, 1), (4, i64::MAX - 30)];

/// An omitted field is drawn, and matches any recorded transfer.
#[derive(Clone, Copy, Debug)]
struct Requested {
    id: u128,
    source: i64,
    target: i64,
    amount: Option<i64>,
    source_given: bool,
    target_given: bool,
    style: Style,
    /// By `pay`, together with paid neighbours.
    paid: bool,
}

#[derive(Clone, Debug)]
struct Case {
    asked: Vec<Requested>,
    losses: Vec<Loss>,
    at_once: bool,
}

/// Source, target, amount.
type Record = (i64, i64, i64);
type Outcome = Result<(Record, By), Refusal>;

fn asked() -> impl Strategy<Value = Requested> {
    let account = || prop_oneof![9 => 1..=4_i64, 1 => Just(9)];
    let amount = prop_oneof![3 => Just(None), 5 => (1..=60_i64).prop_map(Some), 1 => Just(Some(i64::MAX))];
    let style = prop_oneof![Just(Style::Builder), Just(Style::Orm), Just(Style::Single)];
    // Few ids, so that some repeat.
    let fields =
        (0..6_u128, account(), account(), amount, any::<bool>(), any::<bool>(), style, any::<bool>());
    fields.prop_map(|(id, source, target, amount, source_given, target_given, style, paid)| Requested {
        id,
        source,
        target,
        amount,
        source_given,
        target_given,
        style,
        paid,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let loss = prop_oneof![Just(Loss::AfterCommit), Just(Loss::BeforeCommit)];
    let losses = prop_oneof![Just(Vec::new()), vec(loss, 1..=3)];
    (vec(asked(), 1..=9), losses, any::<bool>()).prop_map(|(asked, losses, at_once)| Case {
        asked,
        losses,
        at_once,
    })
}

fn config(server: &TestServer, few: u32) -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { few };
    let mut config = Config { cases, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(rand::random());
    }
    println!("{server}: {cases} cases against the model, PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

/// The pure function behind `pay`.
async fn a_chunk_agrees_with_the_model(server: &TestServer) {
    let mut runner = TestRunner::new(config(server, 2000));
    let checked = runner.run(&vec(asked(), 1..=12), |asked| {
        let orders: Vec<Order> = asked.iter().map(Requested::order).collect();
        let decided = decide(&orders, &HashMap::new(), &HashMap::from(OPENING));
        let outcome = |decision: &Decision| match decision {
            Ok(receipt) => Ok((record(receipt), receipt.by)),
            Err(refusal) => Err(refusal.clone()),
        };
        let outcomes: Vec<Outcome> = decided.decisions.iter().map(outcome).collect();
        let case = Case { asked, losses: Vec::new(), at_once: false };
        for (number, outcome) in outcomes.iter().enumerate() {
            let before = Books::after(&case, &outcomes, (1 << number) - 1);
            prop_assert_eq!(&before.outcome(&case.asked[number]), outcome);
        }
        let after = Books::after(&case, &outcomes, (1 << outcomes.len()) - 1);
        for (account, balance) in &decided.balances {
            prop_assert_eq!(after.balances.get(account), Some(&i128::from(*balance)));
        }
        let journal: BTreeMap<u128, Record> = decided
            .journal
            .iter()
            .map(|it| (it.id.as_u128(), (it.source_id, it.target_id, it.amount)))
            .collect();
        prop_assert_eq!(journal, after.recorded);
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

async fn some_order_of_the_transfers_explains_every_outcome(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let config = config(server, if server.server == Server::Sqlite { 150 } else { 40 });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&case(), |case| runtime.block_on(check(&database, &case)))
    })
    .unwrap_or_else(|error| panic!("{error}"));
}

async fn check(database: &Database, case: &Case) -> TestCaseResult {
    let opening = OPENING.map(|(id, balance)| format!("({id}, {balance}, {balance})")).join(", ");
    for sql in [
        "DELETE FROM transfers",
        "DELETE FROM accounts",
        &format!("INSERT INTO accounts (id, balance, opening_balance) VALUES {opening}"),
    ] {
        execute(database, sql).await;
    }
    let bank = Bank::on(tapped(&Tap::new(database).losing(&case.losses), Policy::default()));
    let outcomes = outcomes(&bank, case).await?;
    prop_assert!(is_explained(case, &outcomes), "no order explains {outcomes:?}");

    let (accounts, transfers) = everything(database).await;
    let balances: BTreeMap<_, _> = accounts.into_iter().map(|it| (it.id, it.balance.into())).collect();
    let recorded: BTreeMap<_, _> =
        transfers.into_iter().map(|it| (it.id.as_u128(), (it.source_id, it.target_id, it.amount))).collect();
    let expected = Books::after(case, &outcomes, (1 << outcomes.len()) - 1);
    prop_assert_eq!(recorded, expected.recorded);
    prop_assert_eq!(balances, expected.balances);
    let audit = Bank::new(database, Policy::default()).audit().await.expect("readable");
    prop_assert!(audit.ok, "{audit:?}");
    Ok(())
}

impl Case {
    /// Transfers that share a transaction.
    fn transactions(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let together = self.asked.chunk_by(|one, next| one.paid && next.paid);
        let range = |asked: &[Requested]| {
            let range = start..start + asked.len();
            start = range.end;
            range
        };
        together.map(range).collect()
    }
}

async fn outcomes(bank: &Bank, case: &Case) -> Result<Vec<Outcome>, TestCaseError> {
    let mut ended = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for range in case.transactions() {
        let (bank, asked) = (bank.clone(), case.asked[range.clone()].to_vec());
        let is_last = range.end == case.asked.len();
        // After a lost answer style `single` cannot prove a refusal.
        let has = asked[0].style.works_on(bank.server()) && case.losses.is_empty();
        let style = if has || asked[0].style == Style::Orm { asked[0].style } else { Style::Builder };
        tasks.spawn(async move {
            let orders: Vec<Order> = asked.iter().map(Requested::order).collect();
            let outcomes = if asked[0].paid {
                bank.pay(&orders).await
            } else {
                vec![bank.transfer(orders[0], style).await]
            };
            range.zip(outcomes).collect::<Vec<_>>()
        });
        let waits = !case.at_once || is_last;
        let told = if waits { std::mem::take(&mut tasks).join_all().await } else { Vec::new() };
        for (number, outcome) in told.into_iter().flatten() {
            let outcome = match outcome {
                Ok(receipt) => Ok((record(&receipt), receipt.by)),
                Err(Error::Body(refusal) | Error::Database { body: Some(refusal), .. }) => Err(refusal),
                Err(other) => return Err(TestCaseError::fail(format!("neither done nor refused: {other}"))),
            };
            ended.insert(number, outcome);
        }
    }
    Ok(ended.into_values().collect())
}

fn record(receipt: &Receipt) -> Record {
    (receipt.source.0, receipt.target.0, receipt.amount.units())
}

/// Searches sets of completed transfers, because the books do not depend on their order. If they
/// did not run concurrently, only their own order counts.
fn is_explained(case: &Case, outcomes: &[Outcome]) -> bool {
    let all = 1_usize << outcomes.len();
    let mut reachable = vec![false; all];
    reachable[0] = true;
    for done in 0..all {
        if !reachable[done] {
            continue;
        }
        for range in case.transactions() {
            let in_turn = case.at_once || done == (1 << range.start) - 1;
            if in_turn && done & (1 << range.start) == 0 {
                let mut then = done;
                let agrees = range.clone().all(|number| {
                    let expected = Books::after(case, outcomes, then).outcome(&case.asked[number]);
                    then |= 1 << number;
                    agree(case, &expected, &outcomes[number])
                });
                reachable[then] |= agrees;
            }
        }
    }
    reachable[all - 1]
}

fn agree(case: &Case, expected: &Outcome, outcome: &Outcome) -> bool {
    match (expected, outcome) {
        // After a lost answer, a run may mistake another run's transfer for its own.
        (Ok((expected, _)), Ok((record, _))) if !case.losses.is_empty() => expected == record,
        // Style `single` reads the amount afterwards.
        (
            Err(Refusal::BalanceOverflow { account: expected, .. }),
            Err(Refusal::BalanceOverflow { account, .. }),
        ) if case.at_once => expected == account,
        (expected, outcome) => expected == outcome,
    }
}

impl Requested {
    fn order(&self) -> Order {
        let (source, target) = (AccountId(self.source), AccountId(self.target));
        let request = TransferRequest {
            source: self.source_given.then_some(source),
            target: self.target_given.then_some(target),
            amount: self.amount.map(|units| Amount::new(units).expect("a positive amount")),
        };
        Order::new(Uuid::from_u128(self.id), source, target, request)
    }
}
