//! The audit: detects every inconsistency, and is correct beside concurrent writers.

use std::time::{Duration, Instant};

use database::{Database, Options, Server};
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::audit::{Audit, Rule};
use seabank::bank::transfer::{Many, Style, TransferRequest};
use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, tests};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::{execute, insert_account, insert_transfer, seed};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_empty_bank_is_whole,
        a_bank_that_moved_money_is_whole,
        money_from_nowhere_is_detected,
        money_moved_without_a_transfer_is_detected,
        a_transfer_without_money_is_detected,
        a_negative_balance_is_detected,
        a_transfer_of_an_unknown_account_is_detected,
        totals_beyond_64_bits_are_exact,
        a_difference_beyond_32_bits_is_detected,
        a_broken_bank_ends_in_exit_code_3,
        every_audit_beside_writers_is_whole,
        an_open_writer_does_not_stop_the_audit on &[Server::Sqlite, Server::Postgres],
        the_past_is_audited_beside_an_open_writer on &[Server::Cockroach],
        an_audit_of_the_past_is_refused_on_other_servers on &[Server::Sqlite, Server::Postgres],
    ]
}

async fn honest(database: &Database) {
    for id in [1, 2] {
        insert_account(database, id, 100).await;
    }
    insert_transfer(database, 1, 2, 30).await.expect("two accounts");
    execute(database, "UPDATE accounts SET balance = CASE id WHEN 1 THEN 70 ELSE 130 END").await;
}

async fn audit(database: &Database) -> Audit {
    Bank::new(database, Policy::default()).audit().await.expect("readable")
}

fn broken(audit: &Audit) -> Vec<(Rule, &str)> {
    assert_eq!(audit.ok, audit.violations.is_empty());
    audit.violations.iter().map(|it| (it.rule, it.id.as_str())).collect()
}

async fn an_empty_bank_is_whole(server: &TestServer) {
    let test = server.database().await;
    let audit = audit(&test.connect().await).await;
    assert!(audit.ok && audit.accounts == 0 && audit.balance_total == 0, "{audit:?}");
}

async fn a_bank_that_moved_money_is_whole(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    let audit = audit(&database).await;
    assert_eq!(broken(&audit), []);
    assert_eq!((audit.accounts, audit.transfers, audit.balance_total, audit.opening_total), (2, 1, 200, 200));
}

async fn money_from_nowhere_is_detected(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    execute(&database, "UPDATE accounts SET balance = balance + 1 WHERE id = 2").await;
    assert_eq!(broken(&audit(&database).await), [(Rule::TotalsAgree, ""), (Rule::BalanceExplained, "2")]);
}

async fn money_moved_without_a_transfer_is_detected(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    execute(&database, "UPDATE accounts SET balance = balance + CASE id WHEN 1 THEN -1 ELSE 1 END").await;
    // The totals agree.
    assert_eq!(
        broken(&audit(&database).await),
        [(Rule::BalanceExplained, "1"), (Rule::BalanceExplained, "2")]
    );
}

async fn a_transfer_without_money_is_detected(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    insert_transfer(&database, 2, 1, 5).await.expect("two accounts");
    assert_eq!(
        broken(&audit(&database).await),
        [(Rule::BalanceExplained, "1"), (Rule::BalanceExplained, "2")]
    );
}

async fn a_negative_balance_is_detected(server: &TestServer) {
    let test = server.database().await;
    // CHECK constraints are switched off for one connection.
    let database = test.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    honest(&database).await;
    execute(
        &database,
        match server.server {
            Server::Sqlite => "PRAGMA ignore_check_constraints = ON",
            Server::Postgres | Server::Cockroach => {
                "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_check"
            }
        },
    )
    .await;
    execute(&database, "UPDATE accounts SET balance = CASE id WHEN 1 THEN -1 ELSE 201 END").await;
    let audit = audit(&database).await;
    assert_eq!(
        broken(&audit),
        [(Rule::NoNegativeBalance, "1"), (Rule::BalanceExplained, "1"), (Rule::BalanceExplained, "2")]
    );
    assert_eq!(audit.balance_total, 200);
}

async fn a_transfer_of_an_unknown_account_is_detected(server: &TestServer) {
    let test = server.database_without_foreign_keys().await;
    let database = test.connect().await;
    honest(&database).await;
    let lost = insert_transfer(&database, 8, 9, 5).await.expect("nothing forbids it").to_string();
    assert_eq!(broken(&audit(&database).await), [(Rule::TransferSound, lost.as_str())]);
}

async fn totals_beyond_64_bits_are_exact(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 0..5 {
        insert_account(&database, id, i64::MAX).await;
    }
    // The maximum balance moves twice, in a circle.
    insert_account(&database, 5, 0).await;
    for (source, target) in [(0, 5), (5, 0)] {
        insert_transfer(&database, source, target, i64::MAX).await.expect("two accounts");
    }
    let audit = audit(&database).await;
    assert_eq!(broken(&audit), []);
    assert_eq!(audit.balance_total, 5 * i128::from(i64::MAX));
    let output = test.seabank().args(["audit", "--format", "json"]).output().expect("the command runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert_eq!(answer["balance_total"], "46116860184273879035");
}

async fn a_difference_beyond_32_bits_is_detected(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    // Only the high 32 bits differ.
    execute(&database, "UPDATE accounts SET balance = balance + 4294967296 WHERE id = 1").await;
    execute(&database, "UPDATE accounts SET opening_balance = opening_balance + 4294967296 WHERE id = 2")
        .await;
    assert_eq!(
        broken(&audit(&database).await),
        [(Rule::BalanceExplained, "1"), (Rule::BalanceExplained, "2")]
    );
}

async fn a_broken_bank_ends_in_exit_code_3(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    honest(&database).await;
    execute(&database, "UPDATE accounts SET balance = balance + 1 WHERE id = 2").await;
    let output = test.seabank().args(["audit", "--format", "json"]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(3));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert_eq!((&answer["ok"], &answer["code"]), (&Value::Bool(false), &Value::from(3)));
    assert_eq!(answer["violations"].as_array().map(Vec::len), Some(2), "{answer}");
}

async fn every_audit_beside_writers_is_whole(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let bank = Bank::new(&database, Policy::default());
    seed(&bank, 40, 40).await.expect("seeded");
    let stop = CancellationToken::new();
    let many = Many {
        count: 10_000,
        concurrency: 4,
        run: Uuid::new_v4(),
        request: TransferRequest::default(),
        style: Style::Builder,
        batch: None,
        rng_seed: 1,
    };
    let mut endings = bank.transfer_many(many, stop.clone()).await.expect("accounts to draw from");
    let audits = async {
        let auditor = Bank::new(&test.connect_for_analysis().await, Policy::default());
        let (mut seen, mut audits) = (std::collections::BTreeSet::new(), 0);
        let started = Instant::now();
        // On a slow machine, until two audits have seen different totals.
        while audits < 25 || seen.len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(60), "the writers make no progress");
            audits += 1;
            let audit = auditor.audit().await.expect("readers are not disturbed");
            assert!(audit.ok, "{audit:?}");
            seen.insert(audit.transfers);
        }
        assert_eq!(auditor.counts().retries, 0, "readers are not retried");
        stop.cancel();
    };
    let transfers = async {
        let mut applied = 0;
        while let Some(ended) = endings.recv().await {
            applied += u64::from(ended.outcome.is_ok());
        }
        applied
    };
    let ((), applied) = tokio::join!(audits, transfers);
    assert!(applied > 0, "nothing was transferred during the audits");
}

async fn an_open_writer_does_not_stop_the_audit(server: &TestServer) {
    let test = server.database().await;
    honest(&test.connect().await).await;
    audited_beside_an_open_writer(&test, &["audit"]).await;
}

async fn the_past_is_audited_beside_an_open_writer(server: &TestServer) {
    let test = server.database().await;
    honest(&test.connect().await).await;
    let long_ago = test.seabank().args(["audit", "--as-of", "1h"]).output().expect("the command runs");
    let line = String::from_utf8_lossy(&long_ago.stderr);
    assert!(line.contains("1h ago there was no bank here: give a shorter --as-of"), "{line}");
    assert_eq!(long_ago.status.code(), Some(5), "{line}");

    tokio::time::sleep(Duration::from_secs(2)).await;
    audited_beside_an_open_writer(&test, &["audit", "--as-of", "1s"]).await;
    let recent = test.seabank().args(["audit", "--as-of", "500ms", "--echo"]).assert().success();
    let echoed = String::from_utf8_lossy(&recent.get_output().stderr).into_owned();
    assert!(echoed.contains("AS OF SYSTEM TIME '-500ms'"), "{echoed}");
    let load = ["workload", "--max-ops", "50", "--audit-every", "20ms", "--audit-as-of", "1s"];
    test.seabank().args(load).assert().success();
}

async fn an_audit_of_the_past_is_refused_on_other_servers(server: &TestServer) {
    let test = server.database().await;
    for command in [&["audit", "--as-of", "10s"][..], &["workload", "--audit-as-of", "10s"]] {
        let refused = test.seabank().args(command).assert().code(2);
        let line = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(line.contains("reads CockroachDB's past"), "{line}");
    }
}

async fn audited_beside_an_open_writer(test: &TestDatabase, command: &[&str]) {
    let runner = seabank::bank::Runner::new(&test.connect().await, Policy::default());
    runner
        .run("hold", async |tx| {
            sea_orm::ConnectionTrait::execute_unprepared(tx, "UPDATE accounts SET balance = 0 WHERE id = 1")
                .await?;
            let mut audit = test.seabank();
            let auditing =
                audit.args(command).args(["--format", "json"]).timeout(Duration::from_secs(10)).output();
            let answer: Value =
                serde_json::from_slice(&auditing.expect("the command runs").stdout).expect("a JSON object");
            assert_eq!((&answer["ok"], &answer["balance_total"]), (&Value::Bool(true), &Value::from("200")));
            Err::<(), _>(sea_orm::DbErr::Custom("nothing of it stays".to_owned()))
        })
        .await
        .expect_err("rolled back");
}
