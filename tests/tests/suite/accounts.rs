//! `accounts`: the largest balances, and digits.

use serde_json::Value;
use tests::{Test, TestServer, tests};

use crate::books::insert_account;

pub(crate) fn tests() -> Vec<Test> {
    tests![the_largest_balances_are_listed, digits_are_grouped_for_people_only]
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

/// An account's number is pasted into commands.
async fn digits_are_grouped_for_people_only(server: &TestServer) {
    let test = server.database().await;
    insert_account(&test.connect().await, 1_234_567, 7_654_321).await;
    let output = |arguments: &[&str]| {
        let output = test.seabank().args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    for arguments in [&["accounts"][..], &["history", "1234567"], &["audit"]] {
        let text = output(arguments);
        assert!(text.contains("7,654,321") && !text.contains("1,234,567"), "{text}");
        let text = output(&[arguments, &["--format", "json"]].concat());
        assert!(text.contains("7654321") && !text.contains("7,654,321"), "{text}");
    }
    let exported = output(&["export", "accounts"]);
    assert!(exported.contains("1234567,7654321,7654321,"), "{exported}");
}
