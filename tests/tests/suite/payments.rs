//! `Bank::pay`: many transfers in one transaction, also under faults. Guarantees 1 and 2 for
//! chunks.

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

pub(crate) fn tests() -> Vec<Test> {
    tests![
        orders_come_to_what_they_would_one_by_one,
        the_number_of_statements_does_not_depend_on_the_size,
        a_batch_draws_what_its_transfers_draw_one_by_one_in_one_statement,
        payments_whose_answers_were_lost_are_told_as_they_were,
        a_refusal_whose_answer_was_lost_is_told_as_it_was,
        a_connection_that_breaks_anywhere_applies_a_chunk_once on WIRE,
        a_program_that_stops_anywhere_is_completed,
        chunks_that_meet_are_all_applied,
        an_id_that_others_write_meanwhile_is_applied_once,
        a_payment_that_waits_for_a_deposit_is_decided_with_it on WIRE,
        payments_that_are_too_many_become_their_halves on &[Server::Postgres],
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

/// An order with all fields given.
fn order(id: u128, source: i64, target: i64, amount: i64) -> Order {
    let (source, target) = (AccountId(source), AccountId(target));
    let amount = Some(Amount::new(amount).expect("positive"));
    let request = TransferRequest { source: Some(source), target: Some(target), amount };
    Order::new(Uuid::from_u128(id), source, target, request)
}

/// A bank with accounts 1 to 10 of 1000 each.
async fn bank(server: &TestServer) -> (tests::TestDatabase, Database) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=10 {
        insert_account(&database, id, 1000).await;
    }
    (test, database)
}

async fn assert_whole(database: &Database) {
    let audit = Bank::new(database, Policy::default()).audit().await.expect("a reading");
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

async fn orders_come_to_what_they_would_one_by_one(server: &TestServer) {
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

    // Repeated, nothing moves, and refusals are decided anew.
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
        // The last one is refused, so that every statement is sent.
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

async fn a_batch_draws_what_its_transfers_draw_one_by_one_in_one_statement(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let bank = Bank::new(&database, Policy::default());
    let range = bank.account_range().await.expect("a reading");
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
            let mut ended = tapped.transfer_many(many, CancellationToken::new()).await.expect("a reading");
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

/// The first chunk's answer is lost after it was applied, the second's before.
async fn payments_whose_answers_were_lost_are_told_as_they_were(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let losses = [Loss::AfterCommit, Loss::BeforeCommit, Loss::AfterCommit, Loss::AfterCommit];
    let tap = Tap::new(&database).losing(&losses);
    let bank = Bank::on(tapped(&tap, Policy::default()));
    let rows = (0..30).map(|n| format!("{},{},{},1\n", Uuid::from_u128(n), n % 10 + 1, (n + 1) % 10 + 1));
    let text = "id,source_id,target_id,amount\n".to_owned() + &rows.collect::<String>();
    let run = loading(Uuid::new_v4(), 10);
    let paid = bank.pay_file(Cursor::new(text), &run, OnError::Stop, |_| (), |_| Ok(())).await.expect("paid");
    assert_eq!(paid, Paid { applied: 30, chunks: 3, ..Paid::default() });
    assert_eq!(bank.counts().unknown, 0);
    assert_eq!(recorded(&database).await.len(), 30);
    assert_whole(&database).await;
}

/// The money arrives while the commit is ambiguous.
async fn a_refusal_whose_answer_was_lost_is_told_as_it_was(server: &TestServer) {
    let (_test, database) = bank(server).await;
    let tap = Tap::new(&database).losing(&[Loss::AfterCommit]);
    let bank = Bank::on(tapped(&tap, Policy::default()));
    let orders = [order(1, 1, 2, 1), order(1, 1, 2, 1), order(2, 1, 2, 1000), order(3, 1, 1, 1)];
    let paying = tokio::spawn(async move { bank.pay(&orders).await });
    let outcomes = paying.await.expect("no panic");
    assert_eq!(
        outcomes.iter().map(by).collect::<Vec<_>>(),
        [Some(By::ThisRun), Some(By::EarlierRun), None, None]
    );
    let amount = Amount::new(1000).expect("positive");
    let insufficient = Refusal::InsufficientFunds { account: AccountId(1), amount };
    assert_eq!(refused(&outcomes[2]), Some(&insufficient));
    assert_eq!(refused(&outcomes[3]), Some(&Refusal::SameAccount(AccountId(1))));
    assert_whole(&database).await;
}

/// At every request of a chunk: before it is sent, after it was executed, and within its answer.
async fn a_connection_that_breaks_anywhere_applies_a_chunk_once(server: &TestServer) {
    let (test, direct) = bank(server).await;
    let proxy = test.proxy().await;
    let through = Address::parse(&proxy.url(test.url())).expect("a good URL");
    let database = connect(&through, &Options::default()).await.expect("it answers");
    let bank = Bank::new(&database, Policy::default());
    let (mut number, mut applied) = (0, 0);
    for cut in [Cut::BeforeSending, Cut::AfterApplied, Cut::InReply] {
        for place in 1.. {
            // Two are applied, one is refused.
            let orders = [order(number, 1, 2, 1), order(number + 1, 2, 3, 1), order(number + 2, 3, 99, 1)];
            number += 3;
            let (struck, watched) = tokio::sync::watch::channel(false);
            let mut left = place;
            proxy.arm(move |request: &Request| {
                if *struck.borrow() || !matches!(request.kind, Kind::Query | Kind::Execute) {
                    return None;
                }
                left -= 1;
                (left == 0).then(|| {
                    struck.send_replace(true);
                    Fault::Cut(cut)
                })
            });
            let outcomes = bank.pay(&orders).await;
            let told: Vec<_> = outcomes.iter().map(by).collect();
            assert_eq!(
                told,
                [Some(By::ThisRun), Some(By::ThisRun), None],
                "{cut:?} at {place}: {outcomes:?}"
            );
            assert_eq!(refused(&outcomes[2]), Some(&Refusal::UnknownAccount(AccountId(99))));
            applied += 2;
            assert_eq!(
                scalar(&direct, "SELECT count(*) FROM transfers").await,
                applied,
                "{cut:?} at {place}"
            );
            if !*watched.borrow() {
                assert!(place > 6, "only {place} requests of a chunk");
                break;
            }
        }
    }
    proxy.settle().await;
    assert_whole(&direct).await;
}

/// As if killed there: nothing more is sent, and another process repeats the run.
async fn a_program_that_stops_anywhere_is_completed(server: &TestServer) {
    // Every seventh asks for more than anybody has.
    let row = |n: i64| {
        let amount = if n % 7 == 0 { 50_000 } else { n + 1 };
        format!("{},{},{},{amount}\n", Uuid::from_u128(n as u128), n % 10 + 1, (n + 1) % 10 + 1)
    };
    let rows = (0..40).map(row);
    let text = "id,source_id,target_id,amount\n".to_owned() + &rows.collect::<String>();
    let pay = async |bank: Bank, run: Loading| {
        let mut lines = Vec::new();
        let file = Cursor::new(text.clone());
        let reject = |row: &seabank::bank::load::Rejected| {
            lines.push(row.line);
            Ok(())
        };
        let paid = bank.pay_file(file, &run, OnError::Skip, |_| (), reject).await.expect("paid");
        lines.sort_unstable();
        (Paid { found: 0, ..paid }, lines)
    };
    let in_order = |run| Loading { concurrency: std::num::NonZero::<usize>::MIN, ..loading(run, 10) };
    let (_clean, database) = bank(server).await;
    let expected = pay(Bank::new(&database, Policy::default()), in_order(Uuid::new_v4())).await;
    let expected_balances = balances(&database).await;
    assert!(expected.0.rejected > 0 && expected.0.applied > 0, "{expected:?}");
    let verbs = [
        "BEGIN",
        "INSERT INTO \"batches\"",
        "SELECT id, balance",
        "SELECT id, source_id",
        "INSERT INTO transfers",
        "INSERT INTO \"transfers\"",
        "UPDATE accounts",
        "INSERT INTO batches",
        "COMMIT",
    ];
    for verb in verbs {
        let (_test, database) = bank(server).await;
        let run = Uuid::new_v4();
        let tap = Tap::new(&database).panicking_at(verb);
        let stopping = Bank::on(tapped(&tap, Policy::default()));
        let (text, loading) = (text.clone(), in_order(run));
        let stopped = tokio::spawn(async move {
            let file = Cursor::new(text);
            stopping.pay_file(file, &loading, OnError::Skip, |_| (), |_| Ok(())).await.is_ok()
        });
        let _ = stopped.await;
        assert_whole(&database).await;
        let completed = pay(Bank::new(&database, Policy::default()), in_order(run)).await;
        assert_eq!(completed, expected, "stopped at {verb}");
        assert_eq!(balances(&database).await, expected_balances, "stopped at {verb}");
    }
}

/// From several places at once, over the same ten accounts, in any order.
async fn chunks_that_meet_are_all_applied(server: &TestServer) {
    let (test, database) = bank(server).await;
    // Two processes, which do not queue for each other.
    let banks =
        [Bank::new(&database, Policy::default()), Bank::new(&test.connect().await, Policy::default())];
    let mut tasks = JoinSet::new();
    for task in 0..6_i64 {
        let bank = banks[task as usize % 2].clone();
        tasks.spawn(async move {
            for round in 0..5_i64 {
                let orders: Vec<Order> = (0..20_i64)
                    .map(|n| {
                        let (source, ahead) = ((n * 7 + task) % 10, (n * 3 + round) % 9 + 1);
                        let id = ((task as u128) << 64) + ((round as u128) << 32) + n as u128;
                        order(id, source + 1, (source + ahead) % 10 + 1, 1)
                    })
                    .collect();
                for outcome in bank.pay(&orders).await {
                    assert_eq!(by(&outcome), Some(By::ThisRun), "{outcome:?}");
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(recorded(&database).await.len(), 600);
    assert_whole(&database).await;
}

/// `transfer` and two payments with the same ids at once.
async fn an_id_that_others_write_meanwhile_is_applied_once(server: &TestServer) {
    let (test, database) = bank(server).await;
    let (one, other) =
        (Bank::new(&database, Policy::default()), Bank::new(&test.connect().await, Policy::default()));
    for round in 0..10_u128 {
        let orders: Vec<Order> =
            (0..8).map(|n| order(round * 8 + n, n as i64 + 1, n as i64 + 2, 1)).collect();
        let transfers = async {
            let mut told = Vec::new();
            for order in &orders {
                told.push(one.transfer(*order, Style::Builder).await);
            }
            told
        };
        let (transfers, one, other) = tokio::join!(transfers, one.pay(&orders), other.pay(&orders));
        for n in 0..orders.len() {
            let told = [&transfers[n], &one[n], &other[n]];
            let by_this = told.iter().filter(|outcome| by(outcome) == Some(By::ThisRun)).count();
            assert!(told.iter().all(|outcome| outcome.is_ok()) && by_this == 1, "{told:?}");
        }
    }
    assert_eq!(recorded(&database).await.len(), 80);
    assert_whole(&database).await;
}

/// Another transaction holds the account and brings the money before it releases the lock.
async fn a_payment_that_waits_for_a_deposit_is_decided_with_it(server: &TestServer) {
    let (test, database) = bank(server).await;
    let depositor = test.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    execute(&depositor, "BEGIN").await;
    let deposit =
        "UPDATE accounts SET balance = balance + 500, opening_balance = opening_balance + 500 WHERE id = 1";
    execute(&depositor, deposit).await;
    let bank = Bank::new(&database, Policy::default());
    let paying = tokio::spawn(async move { bank.pay(&[order(1, 1, 2, 1500)]).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!paying.is_finished(), "it waits for the account");
    execute(&depositor, "COMMIT").await;
    let outcomes = paying.await.expect("no panic");
    assert_eq!(by(&outcomes[0]), Some(By::ThisRun), "{outcomes:?}");
    assert_eq!(balances(&database).await[..2], [(1, 0), (2, 2500)]);
    assert_whole(&database).await;
}

async fn payments_that_are_too_many_become_their_halves(server: &TestServer) {
    let (_test, database) = bank(server).await;
    for sql in [
        "CREATE FUNCTION too_large() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF (SELECT count(*) FROM new_rows) > 30 THEN RAISE EXCEPTION 'too large' USING ERRCODE = '54000'; END IF; \
         RETURN NULL; END $$",
        "CREATE TRIGGER too_large AFTER INSERT ON transfers REFERENCING NEW TABLE AS new_rows \
         FOR EACH STATEMENT EXECUTE FUNCTION too_large()",
    ] {
        execute(&database, sql).await;
    }
    let bank = Bank::new(&database, Policy::default());
    let orders: Vec<Order> =
        (0..100).map(|n| order(n as u128, n % 10 + 1, (n + 1) % 10 + 1, n + 1)).collect();
    let outcomes = bank.pay(&orders).await;
    for (order, outcome) in orders.iter().zip(&outcomes) {
        assert_eq!(outcome.as_ref().map(|receipt| receipt.id).ok(), Some(order.id), "in their order");
    }
    assert_eq!(recorded(&database).await.len(), 100);
    assert_whole(&database).await;
}
