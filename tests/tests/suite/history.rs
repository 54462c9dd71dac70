//! `history`: the balance after each transfer.

use std::collections::BTreeMap;
use std::num::NonZero;

use database::Server;
use sea_orm_retry::Policy;
use seabank::bank::history::Entry;
use seabank::bank::transfer::{Many, Order, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank};
use serde_json::Value;
use terminal::grouped;
use tests::{Tap, Test, TestDatabase, TestServer, tests};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::{everything, execute, insert_account, seed, tapped};
use crate::plans::{analyze, plan, scans};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        each_transfer_has_the_balance_after_it,
        the_balance_may_exceed_64_bits_on_the_way,
        a_history_seeks_in_both_indexes,
    ]
}

const ACCOUNTS: i64 = 4;

/// Transfers one by one, and some in one transaction, which have the same time.
async fn random_transfers(bank: &Bank) {
    let many = Many {
        count: 60,
        concurrency: 1,
        run: Uuid::new_v4(),
        request: TransferRequest::default(),
        style: Style::Builder,
        batch: None,
        rng_seed: rand::random(),
    };
    for many in [many, Many { run: Uuid::new_v4(), batch: NonZero::new(20), ..many }] {
        let mut endings = bank.transfer_many(many, CancellationToken::new()).await.expect("a reading");
        while endings.recv().await.is_some() {}
    }
    let pay = |source, target| {
        let request = TransferRequest { amount: Amount::new(1).ok(), ..TransferRequest::default() };
        Order::new(Uuid::new_v4(), AccountId(source), AccountId(target), request)
    };
    let circle: Vec<Order> = (1..=ACCOUNTS).map(|id| pay(id, id % ACCOUNTS + 1)).collect();
    bank.pay(&circle).await;
}

/// The model: adds up all transfers of an account, oldest first; then newest first.
async fn expected(test: &TestDatabase, account: i64) -> Vec<(Uuid, i128)> {
    let (accounts, mut transfers) = everything(&test.connect().await).await;
    let account = accounts.into_iter().find(|it| it.id == account).expect("it is there");
    transfers.sort_by_key(|it| (it.created_at, it.id));
    let mut balance = i128::from(account.opening_balance);
    let mut entries = Vec::new();
    for transfer in transfers {
        let sign =
            i128::from(transfer.target_id == account.id) - i128::from(transfer.source_id == account.id);
        if sign != 0 {
            balance += sign * i128::from(transfer.amount);
            entries.push((transfer.id, balance));
        }
    }
    assert_eq!(balance, i128::from(account.balance));
    entries.reverse();
    entries
}

async fn told(bank: &Bank, account: i64, limit: u64) -> Vec<(Uuid, i128)> {
    let history = bank.account_history(AccountId(account), limit).await.expect("a reading");
    let entry = |entry: &Entry| (entry.transfer.id, entry.balance);
    history.expect("it is there").entries.iter().map(entry).collect()
}

/// The last cells of the rows that name another account.
fn balances_shown(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| [" to ", " from "].iter().any(|word| line.contains(word)));
    rows.map(|row| row.split_whitespace().last().expect("cells").to_owned()).collect()
}

fn output(test: &TestDatabase, arguments: &[&str]) -> String {
    let output = test.seabank().args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn each_transfer_has_the_balance_after_it(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=ACCOUNTS {
        insert_account(&database, id, 1000 * id).await;
    }
    let bank = Bank::new(&database, Policy::default());
    random_transfers(&bank).await;
    let listed: Value =
        serde_json::from_str(&output(&test, &["accounts", "--format", "json"])).expect("JSON");
    for account in 1..=ACCOUNTS {
        let expected = expected(&test, account).await;
        assert!(expected.len() > 9, "{expected:?}");
        assert_eq!(told(&bank, account, 1000).await, expected);
        assert_eq!(told(&bank, account, 7).await, expected[..7]);

        let id = account.to_string();
        let history = output(&test, &["history", &id, "--limit", "9", "--format", "json"]);
        let history: Value = serde_json::from_str(&history).expect("JSON");
        let entries = ["outgoing", "incoming"].map(|key| history[key].as_array().expect("a list").clone());
        let balance = |entry: &Value| (entry["id"].to_string(), entry["balance"].as_i64().map(i128::from));
        let told: BTreeMap<_, _> = entries.concat().iter().map(balance).collect();
        let newest = expected[..9].iter().map(|(id, balance)| (format!("\"{id}\""), Some(*balance)));
        assert_eq!(told, newest.collect());
        let shown = balances_shown(&output(&test, &["history", &id, "--limit", "9"]));
        assert_eq!(shown, expected[..9].iter().map(|(_, balance)| grouped(*balance)).collect::<Vec<_>>());
        let balance = listed["list"].as_array().expect("a list").iter().find(|it| it["id"] == account);
        let balance = &balance.expect("it is listed")["balance"];
        assert_eq!((balance, balance.as_i64().map(i128::from)), (&history["balance"], Some(expected[0].1)));
    }
}

/// The times contradict the order in which money can have moved.
async fn the_balance_may_exceed_64_bits_on_the_way(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, i64::MAX).await;
    }
    let id = |n| match server.server {
        Server::Sqlite => format!("x'{n:032}'"),
        _ => format!("'00000000-0000-0000-0000-{n:012}'"),
    };
    for (n, source, target) in [(1, 2, 1), (2, 2, 1), (3, 1, 2), (4, 1, 2)] {
        let row = format!("{}, {source}, {target}, {}, '2026-01-0{n} 00:00:00'", id(n), i64::MAX);
        let columns = "id, source_id, target_id, amount, created_at";
        execute(&database, &format!("INSERT INTO transfers ({columns}) VALUES ({row})")).await;
    }
    let history: Value =
        serde_json::from_str(&output(&test, &["history", "1", "--format", "json"])).expect("JSON");
    let max = i128::from(i64::MAX);
    assert_eq!(history["incoming"][0]["balance"], (3 * max).to_string());
    assert_eq!(history["outgoing"][0]["balance"], i64::MAX);
    let history: Value =
        serde_json::from_str(&output(&test, &["history", "2", "--format", "json"])).expect("JSON");
    assert_eq!(history["outgoing"][0]["balance"], -i64::MAX);
}

async fn a_history_seeks_in_both_indexes(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    seed(&Bank::new(&database, Policy::default()), 5000, 5000).await.expect("seeded");
    let id = if server.server == Server::Sqlite { "randomblob(16)" } else { "gen_random_uuid()" };
    // Each account pays the next one.
    let pairs = "SELECT id, lead(id) OVER (ORDER BY id) AS next FROM accounts";
    let sql = format!(
        "INSERT INTO transfers (id, source_id, target_id, amount) \
         SELECT {id}, id, next, 1 FROM ({pairs}) AS pairs WHERE next IS NOT NULL"
    );
    execute(&database, &sql).await;
    analyze(&database, &["accounts", "transfers"]).await;

    let tap = Tap::new(&database);
    let bank = Bank::on(tapped(&tap, Policy::default()));
    let first = bank.account_list(AccountId::MIN, 2).await.expect("a reading")[1].id;
    bank.account_history(AccountId(first), 20).await.expect("a reading").expect("it is there");
    let sent = tap.sent();
    let statement = sent.iter().find(|it| it.sql.contains("UNION ALL")).expect("it is sent");
    let plan = plan(&database, statement).await;
    let text = plan.join("\n");
    assert!(!scans(server.server, &plan), "{statement}\n{text}");
    for index in ["transfers_source_id_idx", "transfers_target_id_idx"] {
        assert!(text.contains(index), "{index} in {statement}\n{text}");
    }
}
