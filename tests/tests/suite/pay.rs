//! `pay`: files of transfers, each applied once and in order; rejected lines; repeated runs.

mod repeated;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::books::{balances, everything, execute, insert_account};
use crate::crash::assert_whole;
use crate::files::{Folder, count, import, pay};

use repeated::{
    a_file_paid_again_is_already_applied, a_file_without_ids_is_paid_once_by_its_run,
    a_run_killed_repeatedly_gives_the_same_bank,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        transfers_are_applied_in_the_order_of_the_file,
        a_refusal_stops_before_its_chunk,
        every_outcome_is_reported_and_repeated,
        a_file_without_ids_is_paid_once_by_its_run,
        exported_transfers_are_paid_into_another_bank,
        a_file_paid_again_is_already_applied,
        a_run_killed_repeatedly_gives_the_same_bank,
        invalid_files_of_transfers_are_refused,
    ]
}

const HEADER: &str = "id,source_id,target_id,amount\n";

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

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

/// Line, reason and content.
fn rejected(path: &Path) -> Vec<(u64, String, String)> {
    let mut rows = csv::Reader::from_path(path).expect("the file exists");
    let row =
        |row: csv::StringRecord| (row[0].parse().expect("a line"), row[1].to_owned(), row[2].to_owned());
    rows.records().map(|it| row(it.expect("valid CSV"))).collect()
}

/// Money that one line brings can leave by the next, whatever the chunk size.
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
    assert_eq!(counts(&answer), [2, 0, 1, 1], "the previous chunk stays, this one is rolled back: {answer}");
    assert_eq!(balances(&database).await, [(1, 80), (2, 20)]);
    assert_eq!(scalar(&database, "SELECT count(*) FROM batches").await, 1);

    folder.write("t.csv", text.replace("500", "5"));
    let (output, answer) = pay(&test, &file, &run);
    assert_eq!((output.status.code(), counts(&answer)), (Some(0), [4, 0, 0, 2]), "{answer}");
    assert_eq!(count(&answer, "found"), 2, "{answer}");
    assert_eq!(balances(&database).await, [(1, 65), (2, 35)]);
    assert_whole(&test);
}

fn lines_of_every_outcome() -> [String; 18] {
    let row = |n: u128, rest: &str| format!("{},{rest}\n", id(n));
    [
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
    ]
}

/// In checking order. A repeated run reports the same, although balances have changed.
async fn every_outcome_is_reported_and_repeated(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0), (3, i64::MAX - 10)]).await;
    let before = ["--from", "1", "--to", "2", "--amount", "7", "--id", &id(7).to_string()].map(str::to_owned);
    test.seabank().arg("transfer").args(before).assert().success();
    let folder = Folder::new();
    let lines = lines_of_every_outcome();
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
        assert_eq!(row, lines[*line as usize - 2].trim_end(), "the original row");
    }
    let books = everything(&database).await;
    assert_eq!(balances(&database).await, [(1, 90), (2, 0), (3, i64::MAX)]);

    // Now other outcomes are possible.
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

/// From standard input, gzipped, with columns in another order.
async fn exported_transfers_are_paid_into_another_bank(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "50"]).assert().success();
    let accounts = folder.path("accounts.csv");
    test.seabank().args(["export", "accounts", "--output"]).arg(&accounts).assert().success();
    test.seabank().args(["transfer", "--count", "60", "--amount", "3", "--rng-seed", "1"]).assert().success();
    let exported = test.seabank().args(["export", "transfers"]).output().expect("the command runs").stdout;
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

async fn invalid_files_of_transfers_are_refused(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0)]).await;
    let folder = Folder::new();
    let mut file = File::create(folder.path("plain.csv.gz")).expect("the file is created");
    file.write_all(HEADER.as_bytes()).expect("the file is written");
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
