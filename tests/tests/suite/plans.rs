//! Explains every statement of the hot path on a large analysed table. None scans a table.

use std::io::Cursor;
use std::ops::RangeInclusive;

use database::{Database, Server};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_orm_retry::{Policy, Tx};
use seabank::bank::file::OnError;
use seabank::bank::transfer::{Order, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank, Runner};
use tests::{Tap, Test, TestServer, tests};
use uuid::Uuid;

use crate::books::{loading, seed, tapped};
use crate::generic::GenericPlans;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        no_statement_of_the_hot_path_scans_a_table,
        new_accounts_are_sought_at_once on &[Server::Cockroach],
        a_new_transfer_does_not_read_the_journal on &[Server::Cockroach],
        a_full_scan_is_recognised,
    ]
}

const ACCOUNTS: u64 = 20_000;
const TRANSFERS: u64 = 100;

async fn large_bank(server: &TestServer) -> (tests::TestDatabase, Database) {
    let test = server.database().await;
    let database = test.connect().await;
    fill(&database).await;
    analyze(&database, &["accounts", "transfers", "batches"]).await;
    (test, database)
}

async fn fill(database: &Database) {
    let bank = Bank::new(database, Policy::default());
    seed(&bank, ACCOUNTS, 5000).await.expect("seeded");
    // CockroachDB v20.1 may scan an empty table.
    let range = bank.account_range().await.expect("readable");
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..TRANSFERS {
        let order = bank.order(Uuid::new_v4(), TransferRequest::default(), range.as_ref(), &mut rng).await;
        bank.transfer(order.expect("two accounts"), Style::Builder).await.expect("applied");
    }
}

/// Retried: CockroachDB v26.1 allows one statistics job per table, including automatic ones.
pub(crate) async fn analyze(database: &Database, tables: &[&str]) {
    let runner = Runner::new(database, Policy::default());
    for table in tables {
        let analyze = match database.server {
            Server::Sqlite | Server::Postgres => format!("ANALYZE {table}"),
            Server::Cockroach => format!("CREATE STATISTICS {table}_statistics FROM {table}"),
        };
        let body = async |tx: &Tx| tx.execute_unprepared(&analyze).await.map(drop);
        runner.query("analyze", body).await.unwrap_or_else(|error| panic!("{analyze}: {error}"));
    }
}

async fn no_statement_of_the_hot_path_scans_a_table(server: &TestServer) {
    let (_test, database) = large_bank(server).await;
    let explained = explain_the_hot_path(&database).await;
    assert!(explained >= 20, "only {explained} statements were explained");
}

/// The planner has statistics of the empty table, as it soon has of a new one.
async fn new_accounts_are_sought_at_once(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    analyze(&database, &["accounts"]).await;
    fill(&database).await;
    analyze(&database, &["transfers", "batches"]).await;
    explain_the_hot_path(&database).await;
}

/// ON CONFLICT seeks the id first.
async fn a_new_transfer_does_not_read_the_journal(server: &TestServer) {
    let (_test, database) = large_bank(server).await;
    let tap = Tap::new(&database);
    new_transfers(&Bank::on(tapped(&tap, Policy::default()))).await;
    let sent = tap.sent();
    let writing: Vec<_> =
        sent.iter().filter(|it| it.sql.replace('"', "").contains("INSERT INTO transfers")).collect();
    assert_eq!(writing.len(), 6, "one for each style and kind of amount: {writing:?}");
    for statement in writing {
        let plan = plan(&database, statement).await;
        assert!(!plan.iter().any(|line| line.contains("transfers@")), "{statement}\n{}", plan.join("\n"));
    }
}

async fn explain_the_hot_path(database: &Database) -> usize {
    let tap = Tap::new(database);
    let bank = Bank::on(tapped(&tap, Policy::default()));
    everything_on_the_hot_path(&bank).await;

    let mut generic = GenericPlans::on(database).await;
    let mut explained = 0;
    for statement in tap.sent() {
        if ["BEGIN", "COMMIT", "ROLLBACK"].contains(&statement.sql.as_str()) {
            continue;
        }
        let plan = plan(database, &statement).await;
        assert!(!scans(database.server, &plan), "{}\n{}", statement, plan.join("\n"));
        if let Some(generic) = &mut generic {
            let plan = generic.plan(&statement).await;
            assert!(!scans(database.server, &plan), "generic: {}\n{}", statement, plan.join("\n"));
        }
        explained += 1;
    }
    explained
}

async fn new_transfers(bank: &Bank) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let range = bank.account_range().await.expect("readable");
    for style in Style::on(bank.server()) {
        for amount in [None, Some(Amount::new(1).expect("positive"))] {
            let request = TransferRequest { amount, ..TransferRequest::default() };
            let order = bank.order(Uuid::new_v4(), request, range.as_ref(), &mut rng).await;
            bank.transfer(order.expect("two accounts"), style).await.expect("applied");
        }
    }
}

/// With every outcome.
async fn everything_on_the_hot_path(bank: &Bank) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let range = bank.account_range().await.expect("readable");
    let nobody = AccountId(-1);
    for style in Style::on(bank.server()) {
        let id = Uuid::new_v4();
        let drawn =
            bank.order(id, TransferRequest::default(), range.as_ref(), &mut rng).await.expect("two accounts");
        bank.transfer(drawn, style).await.expect("applied");
        bank.transfer(drawn, style).await.expect("applied already");
        assert!(bank.transfer_by_id(id).await.expect("readable").is_some());
        let exactly = |units| TransferRequest {
            amount: Some(Amount::new(units).expect("positive")),
            ..TransferRequest::default()
        };
        let new = |source, target, request| Order::new(Uuid::new_v4(), source, target, request);
        bank.transfer(new(drawn.source, drawn.target, exactly(1)), style).await.expect("applied");
        for refused in [
            new(drawn.source, drawn.target, exactly(i64::MAX)),
            new(drawn.source, drawn.source, exactly(1)),
            new(nobody, drawn.target, TransferRequest::default()),
            new(drawn.source, nobody, exactly(1)),
        ] {
            bank.transfer(refused, style).await.expect_err("refused");
        }
    }
    let run = loading(Uuid::new_v4(), 5);
    for _ in 0..2 {
        bank.seed(10, 2, &run, |_| ()).await.expect("seeded");
    }
    payments(bank, range.as_ref()).await;
}

async fn payments(bank: &Bank, range: Option<&RangeInclusive<i64>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut text = "id,source_id,target_id,amount\n".to_owned();
    for n in 0..20 {
        let drawn = bank
            .order(Uuid::new_v4(), TransferRequest::default(), range, &mut rng)
            .await
            .expect("two accounts");
        let amount = if n < 15 { 1 } else { i64::MAX };
        text += &format!("{},{},{},{amount}\n", drawn.id, drawn.source, drawn.target);
    }
    let run = loading(Uuid::new_v4(), 10);
    for run in [&run, &run, &loading(Uuid::new_v4(), 10)] {
        let paid = bank.pay_file(Cursor::new(text.clone()), run, OnError::Skip, |_| (), |_| Ok(())).await;
        let paid = paid.expect("paid");
        assert_eq!((paid.applied + paid.already_applied, paid.rejected), (15, 5));
    }
}

/// Shows that the suite can fail.
async fn a_full_scan_is_recognised(server: &TestServer) {
    let (_test, database) = large_bank(server).await;
    let backend = database.connection.get_database_backend();
    for sql in [
        "SELECT * FROM accounts WHERE balance = 1",
        "UPDATE accounts SET balance = balance WHERE balance + id = 1",
        "SELECT count(*) FROM transfers WHERE amount = 1",
    ] {
        let plan = plan(&database, &Statement::from_string(backend, sql)).await;
        assert!(scans(server.server, &plan), "{sql}\n{}", plan.join("\n"));
    }
}

async fn plan(database: &Database, statement: &Statement) -> Vec<String> {
    let backend = statement.db_backend;
    let (explain, text) = match (backend, database.server) {
        (DbBackend::Sqlite, _) => ("EXPLAIN QUERY PLAN", 3),
        // v20.x: tree, field and description. Newer versions: one text.
        (_, Server::Cockroach) => ("EXPLAIN", usize::MAX),
        _ => ("EXPLAIN", 0),
    };
    let explain = Statement::from_string(backend, format!("{explain} {statement}"));
    let rows = database
        .connection
        .query_all_raw(explain)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    rows.iter()
        .map(|row| match text {
            usize::MAX => {
                let columns = row.column_names();
                let cells = (0..columns.len()).map(|n| row.try_get_by_index::<String>(n).unwrap_or_default());
                cells.collect::<Vec<_>>().join(" ")
            }
            text => row.try_get_by_index::<String>(text).expect("a line of the plan"),
        })
        .collect()
}

pub(crate) fn scans(server: Server, plan: &[String]) -> bool {
    plan.iter().enumerate().any(|(n, line)| match server {
        // `SEARCH accounts USING …` is a seek. VALUES and JSON functions read no table.
        Server::Sqlite => {
            let no_table = ["CONSTANT ROW", "VALUES CLAUSE"].iter().any(|end| line.ends_with(end));
            line.starts_with("SCAN ") && !no_table && !line.contains("VIRTUAL TABLE")
        }
        // Without a condition, the whole index is read.
        Server::Postgres => {
            let condition = plan.get(n + 1).is_some_and(|next| next.contains("Index Cond"));
            line.contains("Seq Scan") || (line.contains("Index") && line.contains(" on ") && !condition)
        }
        Server::Cockroach => line.contains("FULL SCAN") || (line.contains("spans") && line.contains("ALL")),
    })
}
