//! Text output fits 80 columns where it goes to no terminal.

use std::process::Output;

use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, tests};

use crate::books::execute;
use crate::files::{Folder, accounts};

pub(crate) fn tests() -> Vec<Test> {
    tests![no_line_is_wider_than_80_columns, what_is_wrong_is_wrapped]
}

const WIDTH: usize = 80;

fn run(test: &TestDatabase, arguments: &[&str], code: i32) -> Output {
    let output = test.seabank().args(arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    output
}

/// Runs a command; the error that it may end in is one line of any width.
fn fits(test: &TestDatabase, arguments: &[&str], code: i32) -> String {
    let output = run(test, arguments, code);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    for line in text.lines().filter(|line| !line.starts_with("error: ")) {
        assert!(line.chars().count() <= WIDTH, "{arguments:?}: {line}\n{text}");
    }
    text
}

async fn no_line_is_wider_than_80_columns(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    fits(&test, &["demo"], 0);
    fits(&test, &["seed", "--count", "5000"], 0);
    let moved = run(&test, &["transfer", "--format", "json"], 0);
    let moved: Value = serde_json::from_slice(&moved.stdout).expect("JSON");
    let id = moved["id"].as_str().expect("an id");
    let ends = ["source_id", "target_id"].map(|key| moved[key].to_string());
    let [source, target] = &ends;
    for _ in 0..2 {
        fits(&test, &["transfer", "--from", source, "--to", target, "--amount", "100"], 0);
    }

    let file = folder.write("accounts.csv", accounts(3));
    let bad = folder.write("bad.csv", "id,balance\nx,1\n4,40\n");
    let text = format!("source_id,target_id,amount\n{source},{target},1\n{target},{source},1\n");
    let transfers = folder.write("transfers.csv", text);
    let (out, rejects) = (folder.path("out.csv"), folder.path("rejects.csv"));
    let [file, bad, transfers, out, rejects] =
        [&file, &bad, &transfers, &out, &rejects].map(|path| path.to_str().expect("a path"));
    for arguments in [
        &["points"][..],
        &["transfer"],
        &["transfer", "--id", id],
        &["transfer", "--count", "2000", "--batch", "100"],
        &["workload", "--duration", "1s", "--concurrency", "4", "--display-every", "300ms"],
        &["import", file],
        &["import", bad, "--on-error", "skip", "--rejects", rejects],
        &["pay", transfers],
        &["export", "accounts", "--output", out],
        &["accounts"],
        &["accounts", "--top", "10"],
        &["history", source],
        &["history", target],
        &["audit"],
        &["doctor"],
        &["doctor", "--server-cores", "1", "--pool", "50"],
        &["migrate", "status"],
        &["migrate", "up"],
    ] {
        fits(&test, arguments, 0);
    }
    let history = fits(&test, &["history", source], 0);
    assert!(history.contains(id), "it is whole: {history}");
}

async fn what_is_wrong_is_wrapped(server: &TestServer) {
    fits(&server.empty_database().await, &["doctor"], 5);
    let test = server.database().await;
    run(&test, &["demo"], 0);
    let database = test.connect().await;
    execute(&database, "UPDATE accounts SET balance = balance + 1000000").await;
    let text = fits(&test, &["audit"], 3);
    assert!(text.contains("Broken: "), "{text}");
}
