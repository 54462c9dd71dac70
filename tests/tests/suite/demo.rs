//! `demo` and other commands, as text and as JSON.

use std::process::Output;
use std::time::Duration;

use database::Server;
use serde_json::Value;
use terminal::grouped;
use tests::{Test, TestServer, scalar, tests};

use crate::background::Background;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        the_demo_does_the_whole_job_and_adds_a_hundred_more_each_time,
        the_demo_answers_with_one_object,
        echo_prints_begin_and_commit_in_order,
        echo_shows_parameters_and_cuts_long_lists_short,
        the_id_of_a_transfer_is_told_before_it_begins,
        an_account_can_be_looked_at,
        a_shell_can_complete,
        quiet_leaves_the_answer,
        an_interrupted_demo_goes_on_from_there on &[Server::Cockroach],
    ]
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

async fn the_demo_does_the_whole_job_and_adds_a_hundred_more_each_time(server: &TestServer) {
    let test = server.empty_database().await;
    for (accounts, transfers) in [(100, "1 transfer."), (200, "2 transfers.")] {
        let output = test.seabank().arg("demo").output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let text = out(&output);
        for step in ["1. Connected", "2. ", "3. Read", "4. Added 100 accounts", "5. Moved", "6. "] {
            assert!(text.contains(step), "{step} in {text}");
        }
        assert!(text.contains(&format!("{accounts} accounts, {transfers}")), "{text}");
        assert!(text.contains("The bank is whole"), "{text}");
    }
}

async fn the_demo_answers_with_one_object(server: &TestServer) {
    let test = server.empty_database().await;
    let answer = json(&test.seabank().args(["demo", "--format", "json"]).output().expect("it runs"));
    assert_eq!((&answer["existing"], &answer["seed"]["created"]), (&Value::from(0), &Value::from(100)));
    assert_eq!(
        (&answer["transfer"]["applied"], &answer["audit"]["ok"]),
        (&Value::from(1), &Value::from(true))
    );
}

async fn echo_prints_begin_and_commit_in_order(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "2"]).assert().success();
    let output = test.seabank().args(["transfer", "--echo", "--quiet"]).output().expect("it runs");
    let echoed = errors(&output);
    let mut rest = echoed.as_str();
    for part in ["\nBEGIN", "\nINSERT INTO \"transfers\"", "\nUPDATE \"accounts\"", "\nCOMMIT"] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?}, in its order, in {echoed}"));
        rest = &rest[at + part.len()..];
    }
    assert!(out(&output).starts_with("Moved "), "the answer stands alone: {}", out(&output));

    let migrating = server.empty_database().await;
    let echoed = errors(&migrating.seabank().args(["demo", "--echo", "--quiet"]).output().expect("it runs"));
    let position = |part: &str| echoed.find(part).unwrap_or_else(|| panic!("{part} in {echoed}"));
    assert!(position("BEGIN") < position("CREATE TABLE IF NOT EXISTS \"accounts\""));
    let mut lines = echoed.lines().skip_while(|line| !line.starts_with("INSERT INTO \"seaql_migrations\""));
    let [insert, parameters] = [lines.next(), lines.next()].map(Option::unwrap_or_default);
    assert!(parameters.starts_with("-- ['m2"), "the parameters of {insert:?}: {echoed}");
}

async fn echo_shows_parameters_and_cuts_long_lists_short(server: &TestServer) {
    let test = server.database().await;
    let echoed = |arguments: &[&str]| {
        let output = test.seabank().args(arguments).args(["--echo", "--format", "json"]).output();
        let output = output.expect("it runs");
        (json(&output), errors(&output))
    };
    // The lines of the statements that start with a text.
    let lines = |echoed: &str, start: &str| -> Vec<String> {
        echoed.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    };

    let (_, seeding) = echoed(&["seed", "--count", "100"]);
    let inserts = lines(&seeding, "INSERT INTO")
        .into_iter()
        .filter(|line| line.contains("accounts"))
        .collect::<Vec<_>>();
    let short = |line: &String| {
        line.split_once(" -- [").is_some_and(|(_, it)| it.contains(" more]") && it.len() < 300)
    };
    assert!(!inserts.is_empty() && inserts.iter().all(short), "{seeding}");

    let (moved, transferring) = echoed(&["transfer"]);
    let id = moved["id"].as_str().expect("an id");
    let [insert] = &lines(&transferring, "INSERT INTO \"transfers\"")[..] else { panic!("{transferring}") };
    let (_, parameters) = insert.split_once(" -- [").expect("parameters");
    assert!(
        parameters.starts_with(&format!("'{id}', {}, {}", moved["source_id"], moved["target_id"])),
        "{insert}"
    );
    assert!(lines(&transferring, "BEGIN").iter().all(|line| !line.contains(" -- ")), "{transferring}");

    let (_, looking) = echoed(&["history", &moved["source_id"].to_string()]);
    let known = format!("{}", moved["source_id"]);
    assert!(looking.lines().any(|line| line.contains(" -- [") && line.contains(&known)), "{looking}");
}

async fn the_id_of_a_transfer_is_told_before_it_begins(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "2"]).assert().success();
    let output = test.seabank().args(["transfer", "--echo", "--format", "json"]).output().expect("it runs");
    let id = json(&output)["id"].as_str().expect("an id").to_owned();
    let errors = errors(&output);
    let told = errors.find(&id).unwrap_or_else(|| panic!("{id} in {errors}"));
    assert!(told < errors.rfind("BEGIN").expect("a transaction"), "{errors}");
}

async fn an_account_can_be_looked_at(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "3"]).assert().success();
    let moved = json(&test.seabank().args(["transfer", "--format", "json"]).output().expect("it runs"));
    let listed = json(
        &test.seabank().args(["accounts", "--limit", "2", "--format", "json"]).output().expect("it runs"),
    );
    assert_eq!((&listed["accounts"], listed["list"].as_array().map(Vec::len)), (&Value::from(3), Some(2)));
    let source = moved["source_id"].to_string();
    let history =
        json(&test.seabank().args(["history", &source, "--format", "json"]).output().expect("it runs"));
    assert_eq!((&history["outgoing"][0]["id"], &history["payees"]), (&moved["id"], &Value::from(1)));
    let text = out(&test.seabank().args(["history", &source]).output().expect("it runs"));
    let amount = grouped(moved["amount"].as_i64().expect("a number"));
    assert!(text.contains(&format!("-{amount}")), "{text}");
}

async fn a_shell_can_complete(server: &TestServer) {
    let test = server.empty_database().await;
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&test.seabank().args(["completions", shell]).output().expect("it runs"));
        assert!(script.contains("seabank") && script.contains("audit"), "{script}");
    }
}

async fn quiet_leaves_the_answer(server: &TestServer) {
    let test = server.database().await;
    let output = test.seabank().args(["seed", "--count", "2", "--quiet"]).output().expect("it runs");
    assert_eq!(errors(&output), "");
    assert!(out(&output).starts_with("Added 2 accounts"), "{}", out(&output));
}

/// CockroachDB commits each migration.
async fn an_interrupted_demo_goes_on_from_there(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect().await;
    let demo = Background::start(&test, &["demo"]);
    let created = format!(
        "SELECT count(*) FROM information_schema.tables WHERE table_catalog = '{}' AND table_name = 'accounts'",
        test.name
    );
    while scalar(&database, &created).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    demo.interrupt();
    let told = demo.end().await;
    assert_eq!(told.code, Some(130), "{told:?}");
    let error = told.answer["error"].as_str().expect("a line");
    assert!(error.contains("run it again") && !error.contains("nothing was changed"), "{error}");
    test.seabank().arg("demo").assert().success();
}
