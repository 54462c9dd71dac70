//! Wrong input: one line that says what to do, the exit code, an unchanged database.

use database::Server;
use seabank::bank::transfer::Style;
use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, tests};

use crate::books::{everything, execute, insert_account, seed};
use crate::reader::Reader;

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        wrong_usage_exits_with_2,
        every_flag_takes_times_alike on &[Server::Sqlite],
        a_url_that_cannot_be_used_is_2_and_its_password_stays_hidden,
        a_transfer_that_cannot_be_is_1,
        fewer_than_two_accounts_are_too_few,
        an_id_with_another_amount_is_1,
        a_file_that_cannot_be_written_is_1 on &[Server::Sqlite],
        a_full_disk_is_passed_on on &[Server::Sqlite],
        a_full_disk_of_a_server_is_passed_on on &[Server::Postgres],
        savepoints_elsewhere_are_2 on &[Server::Sqlite, Server::Postgres],
        missing_rights_are_passed_on on WIRE,
    ]
}

/// Runs a failing command as text and as JSON. Both have the same line, without a password.
pub(crate) fn fails(test: &TestDatabase, arguments: &[&str], code: i32, words: &[&str]) {
    for format in ["text", "json"] {
        let output = test.seabank().args(arguments).args(["--format", format]).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(!format!("{told}{errors}").contains("s3cret"), "{arguments:?}: {told}{errors}");
        let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        let [line] = lines[..] else { panic!("{arguments:?}: one line, not {errors}") };
        assert!(errors.lines().last() == Some(line), "{arguments:?}: the line comes last: {errors}");
        for word in words {
            assert!(line.contains(word), "{arguments:?}: {word} in {line}");
        }
        if format == "json" {
            let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
            assert_eq!(
                (&answer["code"], answer["error"].as_str()),
                (&code.into(), line.strip_prefix("error: "))
            );
        }
    }
}

async fn wrong_usage_exits_with_2(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 1, 10).await;
    insert_account(&database, 2, 10).await;
    let before = everything(&database).await;
    let id = "00000000-0000-0000-0000-000000000001";
    for (arguments, word) in [
        (&["seed", "--count", "0"][..], "--count"),
        (&["seed", "--count", "-1"], "-1"),
        (&["seed", "--count", "many"], "--count"),
        (&["seed", "--chunk", "0"], "--chunk"),
        (&["transfer", "--count", "0"], "--count"),
        (&["seed", "--concurrency", "10001"], "--concurrency"),
        (&["transfer", "--concurrency", "10001"], "--concurrency"),
        (&["transfer", "--concurrency", "0"], "--concurrency"),
        (&["transfer", "--from", "1", "--to", "2", "--amount", "0"], "at least 1"),
        (&["transfer", "--from", "1", "--to", "2", "--amount", "-5"], "at least 1"),
        (&["transfer", "--from", "1", "--to", "2", "--amount", "1.5"], "whole number"),
        (&["transfer", "--from", "1", "--to", "2", "--amount", "9223372036854775808"], "at most"),
        (&["transfer", "--from", "one"], "--from"),
        (&["transfer", "--id", "1"], "--id"),
        (&["transfer", "--id", id, "--count", "2"], "--count"),
        (&["transfer", "--style", "sql"], "--style"),
        (&["history", "one"], "<ID>"),
        (&["withdraw"], "withdraw"),
        (&["audit", "--max-attempts", "0"], "--max-attempts"),
        (&["audit", "--pool", "0"], "--pool"),
    ] {
        fails(&test, arguments, 2, &[word]);
    }
    assert!(everything(&database).await == before);
}

async fn every_flag_takes_times_alike(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    let load = &["workload", "--max-ops", "1"][..];
    let (positive, or_zero) = ("from 1ms to 366d", "from 0s to 366d");
    for (command, flag, range) in [
        (&["transfer"][..], "--retry-for", "from 1ms to 24h"),
        (load, "--duration", positive),
        (load, "--display-every", positive),
        (load, "--audit-every", or_zero),
        (&["workload", "--max-ops", "1", "--rate", "1"], "--ramp", or_zero),
        (load, "--audit-as-of", positive),
        (&["audit"], "--as-of", positive),
    ] {
        for time in ["", "-5", "-5s", "1.5x", "5M5", "18446744073709551616", "1000000years", "soon"] {
            fails(&test, &[command, &[flag, time]].concat(), 2, &[flag, range, "500ms, 30s or 1m30s"]);
        }
        for time in ["1", "500ms", "1s", "0.5", "1m30s"] {
            let output = test.seabank().args(command).args([flag, time]).output().expect("it runs");
            let is_cockroachdbs = String::from_utf8_lossy(&output.stderr).contains("CockroachDB's past");
            let is_taken = if flag.ends_with("as-of") { is_cockroachdbs } else { output.status.success() };
            assert!(is_taken, "{flag} {time}: {output:?}");
        }
    }
    for (flag, time) in [("--retry-for", "0"), ("--duration", "0s"), ("--display-every", "1us")] {
        fails(&test, &[load, &[flag, time]].concat(), 2, &[flag, "from 1ms to "]);
    }
}

async fn a_url_that_cannot_be_used_is_2_and_its_password_stays_hidden(server: &TestServer) {
    let test = server.database().await;
    for url in [
        "mysql://bank:s3cret@localhost/bank",
        "postgres://bank:s3cret@localhost:99999/bank",
        "postgres://bank:s3cret@/bank?sslmode=perhaps",
        "postgres://bank:s3c ret@local host/bank",
        "cockroachdb//bank:s3cret@localhost",
        "nonsense",
        "",
    ] {
        for arguments in [&["audit", "--database-url", url][..], &["demo", "--database-url", url]] {
            fails(&test, arguments, 2, &["URL"]);
            let output = test.seabank().args(arguments).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("s3c"), "{said}");
        }
    }
    let help =
        test.seabank().env("DATABASE_URL", "postgres://bank:s3cret@localhost/bank").arg("--help").output();
    assert!(!String::from_utf8_lossy(&help.expect("it runs").stdout).contains("s3cret"));
}

async fn a_transfer_that_cannot_be_is_1(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, 10).await;
    }
    let before = everything(&database).await;
    for style in Style::on(server.server).map(Style::name) {
        for (from, to, amount, word) in [
            ("9", "1", "5", "no account 9"),
            ("1", "9", "5", "no account 9"),
            ("1", "1", "5", "two different accounts"),
            ("1", "2", "11", "less than 11"),
        ] {
            let arguments = ["transfer", "--style", style, "--from", from, "--to", to, "--amount", amount];
            fails(&test, &arguments, 1, &[word]);
        }
    }
    fails(&test, &["history", "9"], 1, &["no account 9"]);
    assert!(everything(&database).await == before);
}

async fn fewer_than_two_accounts_are_too_few(server: &TestServer) {
    let test = server.database().await;
    fails(&test, &["transfer"], 1, &["fewer than two accounts", "seed"]);
    fails(&test, &["transfer", "--count", "10", "--concurrency", "3"], 1, &["fewer than two accounts"]);
    insert_account(&test.connect().await, 1, 10).await;
    fails(&test, &["transfer"], 1, &["fewer than two accounts"]);
    fails(&test, &["transfer", "--from", "1"], 1, &["fewer than two accounts"]);
}

async fn an_id_with_another_amount_is_1(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, 10).await;
    }
    let id = "00000000-0000-0000-0000-000000000001";
    let transfer = |amount| ["transfer", "--id", id, "--from", "1", "--to", "2", "--amount", amount];
    test.seabank().args(transfer("3")).assert().success();
    let before = everything(&database).await;
    fails(&test, &transfer("4"), 1, &["another amount: 3", "new --id"]);
    test.seabank().args(transfer("3")).assert().success();
    assert!(everything(&database).await == before);
}

async fn a_file_that_cannot_be_written_is_1(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, 10).await;
    }
    let before = everything(&database).await;
    let read_only = test.url().replace("mode=rwc", "mode=ro");
    test.seabank().args(["audit", "--database-url", &read_only]).assert().success();
    for command in ["seed", "transfer"] {
        fails(&test, &[command, "--database-url", &read_only], 1, &["readonly", "can be written"]);
    }
    assert!(everything(&database).await == before);
}

async fn a_full_disk_is_passed_on(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 1, 10).await;
    // SQLite sees a full disk. The limit belongs to a connection, so this test uses the library.
    let one = database::Options { max_connections: 1, ..database::Options::default() };
    let full = test.connect_with(&one).await;
    let pages = tests::scalar(&full, "PRAGMA page_count").await;
    execute(&full, &format!("PRAGMA max_page_count = {pages}")).await;
    let before = everything(&database).await;
    let bank = seabank::bank::Bank::new(&full, sea_orm_retry::Policy::default());
    let (error, loaded) = seed(&bank, 20_000, 5000).await.expect_err("there is no room");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(loaded.rows, 0);
    assert!(everything(&database).await == before);
}

/// A trigger raises the error of a full disk.
async fn a_full_disk_of_a_server_is_passed_on(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    execute(
        &database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
    )
    .await;
    execute(&database, "CREATE TRIGGER full_disk AFTER INSERT ON accounts EXECUTE FUNCTION full_disk()")
        .await;
    fails(&test, &["seed"], 1, &["No space left on device", "free some space", "seabank seed"]);
    let (accounts, _) = everything(&database).await;
    assert_eq!((accounts.len(), tests::scalar(&database, "SELECT count(*) FROM batches").await), (0, 0));
}

async fn savepoints_elsewhere_are_2(server: &TestServer) {
    let test = server.database().await;
    fails(&test, &["transfer", "--savepoint-restarts", "2"], 2, &["CockroachDB"]);
}

async fn missing_rights_are_passed_on(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let before = everything(&database).await;
    let reader = Reader::of(&test).await;
    fails(&test, &["seed", "--database-url", &reader.url], 1, &["batches", "rights"]);
    test.seabank().args(["audit", "--database-url", &reader.url]).assert().success();
    assert!(everything(&database).await == before);
    reader.drop().await;
}
