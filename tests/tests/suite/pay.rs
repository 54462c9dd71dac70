//! `pay`: files of transfers, applied once and in order; rejected lines; repeated runs.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use database::Server;
use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::books::{balances, everything, execute, insert_account};
use crate::crash::assert_whole;
use crate::files::{Folder, accounts, count, import, pay};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        transfers_are_applied_in_the_order_of_the_file,
        a_refusal_stops_before_its_chunk,
        every_outcome_is_named_and_told_again,
        a_file_without_ids_is_paid_once_by_its_run,
        what_is_exported_is_paid_into_another_bank,
        a_file_that_is_paid_again_is_already_applied,
        a_run_killed_again_and_again_gives_the_same_bank,
        wrong_files_of_transfers_are_refused,
    ]
}

const HEADER: &str = "id,source_id,target_id,amount\n";

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The counts that a repeated run keeps.
fn counts(answer: &Value) -> [u64; 4] {
    ["applied", "already_applied", "rejected", "chunks"].map(|key| count(answer, key))
}

async fn bank(server: &TestServer, accounts: &[(i64, i64)]) -> (TestDatabase, database::Database) {
    let test = server.database().await;
    let database = test.connect().await;
    for (id, balance) in accounts {
        insert_account(&database, *id, *balance).await;
    }
    (test, database)
}

fn skip(rejects: &Path) -> [&str; 4] {
    ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")]
}

fn rejected(path: &Path) -> Vec<(u64, String, String)> {
    let mut rows = csv::Reader::from_path(path).expect("it is there");
    let row =
        |row: csv::StringRecord| (row[0].parse().expect("a line"), row[1].to_owned(), row[2].to_owned());
    rows.records().map(|it| row(it.expect("it is CSV"))).collect()
}

/// A line can spend what the line before it paid in.
async fn transfers_are_applied_in_the_order_of_the_file(server: &TestServer) {
    for chunk in ["1", "2", "1000"] {
        let (test, database) = bank(server, &[(1, 100), (2, 0), (3, 0), (4, 0)]).await;
        let folder = Folder::new();
        let rows = [(1, 2, 100), (2, 3, 100), (3, 4, 100), (4, 1, 1)];
        let rows = (0..).zip(rows).map(|(n, (a, b, amount))| format!("{},{a},{b},{amount}\n", id(n)));
        let file = folder.write("t.csv", HEADER.to_owned() + &rows.collect::<String>());
        let (output, answer) = pay(&test, &file, &["--chunk", chunk, "--concurrency", "1"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(counts(&answer)[..3], [4, 0, 0], "{answer}");
        assert_eq!(balances(&database).await, [(1, 1), (2, 0), (3, 0), (4, 99)]);
        assert_whole(&test);
    }
}

async fn a_refusal_stops_before_its_chunk(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0)]).await;
    let folder = Folder::new();
    let row = |n: u128, amount: u64| format!("{},1,2,{amount}\n", id(n));
    let text = HEADER.to_owned() + &row(1, 10) + &row(2, 10) + &row(3, 10) + &row(4, 500);
    let file = folder.write("t.csv", &text);
    let run = Uuid::new_v4().to_string();
    let run = ["--chunk", "2", "--concurrency", "1", "--run", &run];
    let (output, answer) = pay(&test, &file, &run);
    let error = answer["error"].as_str().expect("a line");
    assert_eq!((output.status.code(), &answer["kind"]), (Some(1), &"rejected".into()), "{answer}");
    assert!(error.contains("line 5: account 1 has less than 500") && error.contains("--run"), "{error}");
    assert_eq!(counts(&answer), [2, 0, 1, 1], "the chunk before stays, its own is rolled back: {answer}");
    assert_eq!(balances(&database).await, [(1, 80), (2, 20)]);
    assert_eq!(scalar(&database, "SELECT count(*) FROM batches").await, 1);

    folder.write("t.csv", text.replace("500", "5"));
    let (output, answer) = pay(&test, &file, &run);
    assert_eq!((output.status.code(), counts(&answer)), (Some(0), [4, 0, 0, 2]), "{answer}");
    assert_eq!(count(&answer, "found"), 2, "{answer}");
    assert_eq!(balances(&database).await, [(1, 65), (2, 35)]);
    assert_whole(&test);
}

/// Every outcome, in checking order; then the run is repeated on other balances.
async fn every_outcome_is_named_and_told_again(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0), (3, i64::MAX - 10)]).await;
    let before = ["--from", "1", "--to", "2", "--amount", "7", "--id", &id(7).to_string()].map(str::to_owned);
    test.seabank().arg("transfer").args(before).assert().success();
    let folder = Folder::new();
    let row = |n: u128, rest: &str| format!("{},{rest}\n", id(n));
    let lines = [
        row(1, "1,2,50"),
        row(1, "1,2,50"),
        row(7, "1,2,7"),
        row(7, "1,2,8"),
        row(7, "2,1,7"),
        row(7, "1,3,7"),
        row(2, "1,1,5"),
        row(3, "9,1,5"),
        row(4, "1,9,5"),
        row(5, "1,2,44"),
        row(6, "1,3,11"),
        row(8, "1,2,0"),
        row(8, "1,2,-1"),
        row(8, "1,2,1.5"),
        "x,1,2,5\n".to_owned(),
        row(8, "1,2"),
        row(9, "2,1,57"),
        row(10, "1,3,10"),
    ];
    let file = folder.write("t.csv", HEADER.to_owned() + &lines.concat());
    let words = [
        (5, "recorded with another amount: 7"),
        (6, "recorded with another source account: 1"),
        (7, "recorded with another target account: 2"),
        (8, "account 1 cannot pay itself"),
        (9, "there is no account 9"),
        (10, "there is no account 9"),
        (11, "account 1 has less than 44"),
        (12, "account 3 cannot take 11 more"),
        (13, "the amount is zero"),
        (14, "the amount -1 is negative"),
        (15, "the amount `1.5` is not a whole number"),
        (16, "the id `x` is not a UUID"),
        (17, "number of fields is 3"),
    ];
    let (rejects, run) = (folder.path("rejects.csv"), Uuid::new_v4().to_string());
    let run = [&["--chunk", "4", "--concurrency", "1", "--run", &run][..], &skip(&rejects)].concat();
    let (output, first) = pay(&test, &file, &run);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(counts(&first)[..3], [3, 2, 13], "{first}");
    let mut told = rejected(&rejects);
    told.sort();
    for ((line, reason, row), (expected, words)) in told.iter().zip(words) {
        assert!(*line == expected && reason.contains(words), "{line}: {reason}");
        assert_eq!(row, lines[*line as usize - 2].trim_end(), "as it was given");
    }
    let books = everything(&database).await;
    assert_eq!(balances(&database).await, [(1, 90), (2, 0), (3, i64::MAX)]);

    // Now a refused line could have another outcome.
    execute(&database, "UPDATE accounts SET balance = 1000 WHERE id = 1").await;
    insert_account(&database, 9, 100).await;
    let (output, again) = pay(&test, &file, &run);
    assert_eq!((output.status.code(), counts(&again)), (Some(0), counts(&first)), "{again}");
    assert_eq!(count(&again, "found"), 3, "{again}");
    let mut told_again = rejected(&rejects);
    told_again.sort();
    assert_eq!(told.len(), told_again.len());
    for ((line, reason, row), again) in told.into_iter().zip(told_again) {
        assert_eq!((line, row), (again.0, again.2));
        let by_an_earlier_call = (5..13).contains(&line);
        let earlier = " (refused by an earlier call of this run)";
        assert_eq!(again.1, if by_an_earlier_call { reason + earlier } else { reason });
    }
    assert_eq!(everything(&database).await.1, books.1);
}

async fn a_file_without_ids_is_paid_once_by_its_run(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0)]).await;
    let folder = Folder::new();
    // As a spreadsheet writes it.
    let file = folder
        .write("t.csv", "Amount,target_id,Source_ID\r\n\"5\",2,1\r\n5, 2 ,1\r\n\r\n500,2,1\r\n5,2,1\r\n");
    let (rejects, run) = (folder.path("rejects.csv"), Uuid::new_v4().to_string());
    let run = [&["--chunk", "3", "--run", &run][..], &skip(&rejects)].concat();
    for found in [0, 3] {
        let (output, answer) = pay(&test, &file, &run);
        assert_eq!((output.status.code(), counts(&answer)), (Some(0), [3, 0, 1, 2]), "{answer}");
        assert_eq!(count(&answer, "found"), found, "{answer}");
        let rows = rejected(&rejects);
        assert_eq!((rows.len(), rows[0].0, rows[0].2.as_str()), (1, 5, "500,2,1"));
        assert_eq!(balances(&database).await, [(1, 85), (2, 15)]);
    }
    // Another run has other transfers.
    fs::remove_file(&rejects).expect("it is there");
    assert_eq!(counts(&pay(&test, &file, &skip(&rejects)).1)[..3], [3, 0, 1]);
    assert_eq!(balances(&database).await, [(1, 70), (2, 30)]);
    assert_whole(&test);
}

/// From standard input, gzipped, in another column order.
async fn what_is_exported_is_paid_into_another_bank(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "50"]).assert().success();
    let accounts = folder.path("accounts.csv");
    test.seabank().args(["export", "accounts", "--output"]).arg(&accounts).assert().success();
    test.seabank().args(["transfer", "--count", "60", "--amount", "3", "--rng-seed", "1"]).assert().success();
    let exported = test.seabank().args(["export", "transfers"]).output().expect("it runs").stdout;
    let packed = folder.path("transfers.csv.gz");
    test.seabank().args(["export", "transfers", "--output"]).arg(&packed).assert().success();
    let turned: String = String::from_utf8(exported.clone())
        .expect("it is text")
        .lines()
        .fold(String::new(), |text, line| text + &line.split(',').rev().collect::<Vec<_>>().join(",") + "\n");
    let turned = folder.write("turned.csv", turned);

    let expected = balances(&test.connect().await).await;
    for way in ["-", "packed", "turned"] {
        let other = server.database().await;
        assert_eq!(import(&other, &accounts, &[]).0.status.code(), Some(0));
        match way {
            "-" => {
                let mut paying = other.seabank();
                paying.args(["pay", "-", "--chunk", "7"]).write_stdin(exported.clone()).assert().success();
            }
            way => {
                let file = if way == "packed" { &packed } else { &turned };
                let (output, answer) = pay(&other, file, &["--chunk", "25"]);
                assert_eq!((output.status.code(), counts(&answer)), (Some(0), [60, 0, 0, 3]), "{answer}");
            }
        }
        assert_eq!(balances(&other.connect().await).await, expected, "{way}");
        assert_whole(&other);
    }
}

async fn a_file_that_is_paid_again_is_already_applied(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 1000), (2, 0)]).await;
    let folder = Folder::new();
    let row = |n: u128| format!("{},1,2,1\n", id(n));
    let rows = |ids: std::ops::Range<u128>| HEADER.to_owned() + &ids.map(row).collect::<String>();
    let file = folder.write("t.csv", rows(0..300));
    assert_eq!(counts(&pay(&test, &file, &["--chunk", "100"]).1), [300, 0, 0, 3]);
    // Also without money.
    execute(&database, "UPDATE accounts SET balance = 0 WHERE id = 1").await;
    let (output, answer) = pay(&test, &file, &["--chunk", "60"]);
    assert_eq!((output.status.code(), counts(&answer)), (Some(0), [0, 300, 0, 5]), "{answer}");
    execute(&database, "UPDATE accounts SET balance = 700 WHERE id = 1").await;
    // With new ones among them.
    let more = folder.write("more.csv", rows(250..350));
    let (_, answer) = pay(&test, &more, &[]);
    assert_eq!(counts(&answer), [50, 50, 0, 1], "{answer}");
    assert_eq!(balances(&database).await, [(1, 650), (2, 350)]);
    assert_whole(&test);
}

async fn a_run_killed_again_and_again_gives_the_same_bank(server: &TestServer) {
    // Long enough to be interrupted.
    let lines: i64 = if server.server == Server::Cockroach { 4000 } else { 20_000 };
    let (folder, run) = (Folder::new(), Uuid::new_v4().to_string());
    let row = |n: i64| {
        let target = if n % 97 == 0 { 99 } else { (n * 7 + 3) % 20 + 1 };
        let amount = if n % 101 == 0 { 100_000 } else { n % 13 + 1 };
        format!("{},{},{target},{amount}\n", id(n as u128), n % 20 + 1)
    };
    let rows = (0..lines).map(row);
    let file = folder.write("t.csv", HEADER.to_owned() + &rows.collect::<String>());
    let opening = folder.write("accounts.csv", accounts(20));
    let (test, clean) = (server.database().await, server.database().await);
    for test in [&test, &clean] {
        assert_eq!(import(test, &opening, &[]).0.status.code(), Some(0));
    }
    let database = test.connect().await;
    let there = async || scalar(&database, "SELECT count(*) FROM batches WHERE rows > 0").await;
    let rejects = folder.path("rejects.csv");
    let file_name = file.to_str().expect("a path");
    // In order, so that refusals repeat.
    let flags = [&["--chunk", "20", "--concurrency", "1", "--run", &run][..], &skip(&rejects)].concat();
    for _ in 0..3 {
        let before = there().await;
        let mut paying = test.spawn("seabank", &[&["pay", file_name], &flags[..]].concat());
        while there().await < before + 5 && paying.try_wait().expect("it can be asked").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        paying.kill().expect("it can be killed");
        paying.wait().expect("it ends");
        assert_whole(&test);
    }
    let (output, answer) = pay(&test, &file, &flags);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (found, applied) = (count(&answer, "found"), count(&answer, "applied"));
    assert!(0 < found && found < applied, "it was stopped in the middle: {answer}");
    let clean_rejects = folder.path("clean.csv");
    let (_, expected) =
        pay(&clean, &file, &[&["--chunk", "20", "--concurrency", "1"][..], &skip(&clean_rejects)].concat());
    assert_eq!(counts(&answer), counts(&expected));
    assert!(counts(&answer)[2] > 0, "some are refused: {answer}");
    assert_eq!(balances(&database).await, balances(&clean.connect().await).await);
    let lines = |path| rejected(path).into_iter().map(|(line, _, row)| (line, row)).collect::<Vec<_>>();
    assert_eq!(lines(&rejects), lines(&clean_rejects));
    assert_whole(&test);
}

async fn wrong_files_of_transfers_are_refused(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0)]).await;
    let folder = Folder::new();
    let mut file = File::create(folder.path("plain.csv.gz")).expect("it can be made");
    file.write_all(HEADER.as_bytes()).expect("written");
    for (name, text, words) in [
        ("empty.csv", "", "it is empty: the first line has to be a header"),
        ("accounts.csv", "id,balance\n1,5\n", "its column `balance` is not known"),
        ("few.csv", "id,source_id,amount\n", "it has no column target_id"),
        ("twice.csv", "id,id,source_id,target_id,amount\n", "it has the column id twice"),
        ("headless.csv", "1,2,3\n", "its column `1` is not known"),
    ] {
        let (output, answer) = pay(&test, &folder.write(name, text), &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(2) && error.contains(words), "{name}: {error}");
    }
    for (path, words) in [
        (folder.path("missing.csv"), "cannot be read"),
        (folder.path("").clone(), "is a folder"),
        (folder.path("plain.csv.gz"), "it cannot be read"),
    ] {
        let (output, answer) = pay(&test, &path, &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(2) && error.contains(words), "{error}");
    }
    let cut = folder.write("cut.csv", format!("{HEADER}{},1,2,50", id(1)));
    let (output, answer) = pay(&test, &cut, &[]);
    let error = answer["error"].as_str().expect("a line");
    assert!(
        output.status.code() == Some(1) && error.contains("line 2: the last line does not end"),
        "{error}"
    );
    // None of its accounts exists.
    let other = folder.write("other.csv", format!("{HEADER}{},77,78,50\n", id(1)));
    let (output, answer) = pay(&test, &other, &[]);
    let error = answer["error"].as_str().expect("a line");
    assert!(output.status.code() == Some(1) && error.contains("line 2: there is no account 77"), "{error}");
    for arguments in [&["--on-error", "skip"][..], &["--rejects", "x.csv"], &["--chunk", "0"]] {
        assert_eq!(pay(&test, &other, arguments).0.status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(scalar(&database, "SELECT count(*) FROM transfers").await, 0);
    assert_eq!(scalar(&database, "SELECT count(*) FROM batches").await, 0);
}
