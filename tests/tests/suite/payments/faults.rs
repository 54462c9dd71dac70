//! Chunks with lost answers, conflicts, or too many transfers.

use super::*;

pub(super) async fn payments_with_lost_answers_are_reported_correctly(server: &TestServer) {
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

/// The account gets its money while the commit is ambiguous.
pub(super) async fn a_refusal_with_a_lost_answer_is_reported_unchanged(server: &TestServer) {
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

/// At every request: before it is sent, after it was executed, and during its answer.
pub(super) async fn a_connection_that_breaks_anywhere_applies_a_chunk_once(server: &TestServer) {
    let (test, direct) = bank(server).await;
    let proxy = test.proxy().await;
    let through = Address::parse(&proxy.url(test.url())).expect("a good URL");
    let database = connect(&through, &Options::default()).await.expect("the server answers");
    let bank = Bank::new(&database, Policy::default());
    let (mut number, mut applied) = (0, 0);
    for cut in [Cut::BeforeSending, Cut::AfterApplied, Cut::InReply] {
        for place in 1.. {
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

/// Another process repeats the run.
pub(super) async fn a_run_that_stops_anywhere_is_completed(server: &TestServer) {
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

pub(super) async fn conflicting_chunks_are_all_applied(server: &TestServer) {
    let (test, database) = bank(server).await;
    // Two processes do not share a queue.
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

pub(super) async fn an_id_written_concurrently_is_applied_once(server: &TestServer) {
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

/// Another transaction locks the account and deposits money before it commits.
pub(super) async fn a_payment_that_waits_for_a_deposit_is_decided_with_it(server: &TestServer) {
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

pub(super) async fn a_chunk_of_payments_that_is_too_large_is_halved(server: &TestServer) {
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
