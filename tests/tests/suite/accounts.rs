//! `accounts`: pages, and the largest balances.

use serde_json::Value;
use tests::{Test, TestServer, tests};

use crate::books::insert_account;

pub(crate) fn tests() -> Vec<Test> {
    tests![the_largest_balances_are_listed]
}

async fn the_largest_balances_are_listed(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for (id, balance) in [(1, 5), (2, 70), (3, 9), (4, 70), (5, i64::MAX / 2), (6, 0)] {
        insert_account(&database, id, balance).await;
    }
    for (top, expected) in [("1", &[5][..]), ("4", &[5, 2, 4, 3]), ("100", &[5, 2, 4, 3, 1, 6])] {
        let output =
            test.seabank().args(["accounts", "--top", top, "--format", "json"]).output().expect("it runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let list = answer["list"].as_array().expect("a list");
        let ids: Vec<i64> = list.iter().map(|it| it["id"].as_i64().expect("a number")).collect();
        assert_eq!(ids, expected);
        assert_eq!(answer["accounts"], 6);
    }
    test.seabank().args(["accounts", "--top", "3", "--limit", "3"]).assert().code(2);
}
