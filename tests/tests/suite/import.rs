//! Files in and out: what is imported is what the file says, once; what is exported reads back to the same bank.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use database::Server;
use seabank::bank::Bank;
use seabank::bank::import::{COPY_MIN, Imported, OnError};
use serde_json::Value;
use tempfile::TempDir;
use tests::{Loss, Tap, Test, TestDatabase, TestServer, scalar, tests};
use transaction::Policy;
use uuid::Uuid;

use crate::books::{everything, insert_account, loading};
use crate::crash::assert_whole;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_file_is_imported_and_found_again,
        many_rows_go_by_copy_and_around_what_is_there on WIRE,
        a_gzipped_file_is_unpacked,
        a_bad_row_stops_before_its_chunk,
        bad_rows_are_skipped_and_written_out,
        rows_that_repeat_others_are_found_across_chunks,
        an_account_with_another_opening_balance_is_a_conflict,
        an_import_killed_again_and_again_gives_the_same_bank,
        an_exported_bank_reads_back_the_same,
        a_reader_of_an_export_may_leave,
        a_transfer_of_nobody_is_rejected,
        wrong_files_are_refused,
        a_line_without_end_is_passed_over,
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::with_prefix("seabank-import-").expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).expect("it can be written");
        self.path(name)
    }
}

fn import(test: &TestDatabase, file: &Path, more: &[&str]) -> (Output, Value) {
    let output = test
        .seabank()
        .arg("import")
        .arg(file)
        .args(more)
        .args(["--format", "json"])
        .output()
        .expect("it runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, answer)
}

/// A number of the answer.
fn count(answer: &Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap_or_else(|| panic!("{key} in {answer}"))
}

/// Accounts from 1 on, the balance of each ten times its number.
fn accounts(count: u64) -> String {
    (1..=count).fold("id,balance\n".to_owned(), |text, id| text + &format!("{id},{}\n", id * 10))
}

async fn a_file_is_imported_and_found_again(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    let file = folder.write("accounts.csv", accounts(250));
    let (output, answer) = import(&test, &file, &["--chunk", "100"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((count(&answer, "rows"), count(&answer, "chunks"), count(&answer, "rejected")), (250, 3, 0));
    let before = everything(&database).await;
    assert!(before.0.iter().all(|it| it.balance == it.id * 10 && it.opening_balance == it.balance));
    assert_eq!(before.0.len(), 250);

    let run = answer["run"].as_str().expect("an id");
    let (_, again) = import(&test, &file, &["--chunk", "100", "--run", run]);
    assert_eq!((count(&again, "rows"), count(&again, "found"), count(&again, "present")), (0, 250, 0));
    let (_, other) = import(&test, &file, &["--chunk", "60"]);
    assert_eq!((count(&other, "rows"), count(&other, "found"), count(&other, "present")), (0, 0, 250));
    assert!(everything(&database).await == before);

    // Rows that are there already are in the way of COPY; the others are added nevertheless.
    let (_, more) = import(&test, &folder.write("more.csv", accounts(400)), &["--chunk", "100"]);
    assert_eq!((count(&more, "rows"), count(&more, "present")), (150, 250));
    assert_whole(&test);
}

/// Of one chunk the answer to COMMIT is lost after it was applied, of another before, and of a third a row is in the way.
async fn many_rows_go_by_copy_and_around_what_is_there(server: &TestServer) {
    let count = 3 * COPY_MIN + 10;
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 5000, 50_000).await;
    let tap = Tap::new(&database).losing(&[Loss::AfterCommit, Loss::BeforeCommit]);
    let bank = Bank::on(tap.clone(), Policy::default());
    let file = Cursor::new(accounts(count as u64));
    let run = loading(Uuid::new_v4(), COPY_MIN);
    let imported = bank.import(file, &run, OnError::Stop, |_| (), |_| Ok(())).await.expect("imported");
    let expected = Imported { rows: count as u64 - 1, present: 1, chunks: 4, ..Imported::default() };
    assert_eq!((imported, bank.counts().unknown), (expected, 0));
    let copies = tap.sent().iter().filter(|it| it.sql.starts_with("COPY accounts")).count();
    assert!(copies >= 2, "{:?}", tap.verbs());
    assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, count as i64);
    assert_whole(&test);
}

async fn a_gzipped_file_is_unpacked(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let path = folder.path("accounts.csv.gz");
    let file = File::create(&path).expect("it can be made");
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    packed.write_all(accounts(50).as_bytes()).expect("it can be written");
    packed.finish().expect("it can be written");
    assert_eq!(count(&import(&test, &path, &[]).1, "rows"), 50);

    // Cut in the middle: what is whole stays, and the line says so.
    let bytes = fs::read(&path).expect("it is there");
    let cut = folder.write("cut.csv.gz", &bytes[..bytes.len() / 2]);
    let (output, answer) = import(&test, &cut, &[]);
    assert_eq!((output.status.code(), &answer["kind"]), (Some(1), &"unreadable".into()), "{answer}");
}

/// A bad line, and words of the reason why.
const BAD: [(&[u8], &str); 12] = [
    (b"7", "number of fields is 1"),
    (b"7,1,2", "number of fields is 3"),
    (b"seven,1", "the id `seven` is not a whole number"),
    (b"7,1.5", "the balance `1.5` is not a whole number"),
    (b"7,", "the balance `` is not a whole number"),
    (b"7,-1", "the balance -1 is negative"),
    (b"7,9223372036854775808", "is above 9223372036854775807"),
    (b"9223372036854775808,7", "is above 9223372036854775807"),
    (b"3,30", "account 3 stands on line 4 already"),
    (b"7,\xff", "not UTF-8"),
    (b"\"7,1", "number of fields is 1"),
    (b"7,1\r8,2", "number of fields is 3"),
];

async fn a_bad_row_stops_before_its_chunk(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    for (n, (line, words)) in BAD.into_iter().enumerate() {
        let text = [accounts(3).as_bytes(), line, b"\n5,50\n"].concat();
        let file = folder.write(&format!("{n}.csv"), text);
        let (output, answer) = import(&test, &file, &[]);
        let error = answer["error"].as_str().expect("a line");
        assert_eq!((output.status.code(), count(&answer, "rows")), (Some(1), 0), "{answer}");
        assert!(error.contains("line 5: ") && error.contains(words) && error.contains("--run"), "{error}");
        assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, 0);
    }
    // Whole chunks before it stay, and the mended file is completed.
    let text = accounts(25) + "26,x\n" + "27,270\n";
    let file = folder.write("late.csv", &text);
    let (_, answer) = import(&test, &file, &["--chunk", "10", "--concurrency", "1"]);
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (20, 1));
    folder.write("late.csv", text.replace("26,x", "26,260"));
    let run = answer["run"].as_str().expect("an id");
    let (output, answer) = import(&test, &file, &["--chunk", "10", "--run", run]);
    assert_eq!((output.status.code(), count(&answer, "rows"), count(&answer, "found")), (Some(0), 7, 20));
    assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, 27);
}

async fn bad_rows_are_skipped_and_written_out(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let mut text = accounts(3).into_bytes();
    for (line, _) in BAD {
        text.extend([line, b"\n"].concat());
    }
    text.extend(b"\r\n 4 ,\"40\"\r\n");
    let (file, rejects) = (folder.write("accounts.csv", text), folder.path("rejects.csv"));
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (output, answer) = import(&test, &file, &skip);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (4, BAD.len() as u64));
    let balances = crate::books::balances(&test.connect().await).await;
    assert_eq!(balances, [(1, 10), (2, 20), (3, 30), (4, 40)]);

    let mut rows = csv::Reader::from_path(&rejects).expect("it is there");
    let rows: Vec<_> = rows.byte_records().map(|row| row.expect("it is CSV")).collect();
    assert_eq!(rows.len(), BAD.len());
    for (n, (row, (line, words))) in rows.iter().zip(BAD).enumerate() {
        assert_eq!((&row[0], &row[2]), ((n + 5).to_string().as_bytes(), line));
        assert!(String::from_utf8_lossy(&row[1]).contains(words), "{row:?}");
    }
    // Somebody may need it yet; and a run that is told again writes over nothing else.
    let (output, _) = import(&test, &file, &skip);
    assert_eq!(output.status.code(), Some(2));
    let (run, before) = (Uuid::new_v4().to_string(), fs::read(&file).expect("it is there"));
    let over = ["--run", &run, "--on-error", "skip", "--rejects", file.to_str().expect("a path")];
    assert_eq!(import(&test, &file, &over).0.status.code(), Some(2));
    assert!(fs::read(&file).expect("it is there") == before);

    // Where nothing is left out there is nothing to keep.
    let none = folder.path("none.csv");
    let skip = ["--on-error", "skip", "--rejects", none.to_str().expect("a path")];
    let (output, _) = import(&test, &folder.write("good.csv", accounts(3)), &skip);
    assert!(output.status.success() && !none.exists());
}

async fn rows_that_repeat_others_are_found_across_chunks(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let text = accounts(30) + "3,30\n31,310\n4,40\n";
    let file = folder.write("accounts.csv", &text);
    let (output, answer) = import(&test, &file, &["--chunk", "10", "--concurrency", "1"]);
    let error = answer["error"].as_str().expect("a line");
    assert!(error.contains("line 32: account 3 stands on line 4 already"), "{error}");
    let counts = ["rows", "rejected", "present"].map(|key| count(&answer, key));
    assert_eq!((output.status.code(), counts), (Some(1), [31, 2, 0]), "{answer}");

    // Of one chunk's two that are equal the second is seen before it is sent.
    folder.write("accounts.csv", text + "3,30\n");
    let rejects = folder.path("rejects.csv");
    let skip = ["--chunk", "10", "--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (_, answer) = import(&test, &file, &skip);
    let counts = ["rows", "rejected", "present"].map(|key| count(&answer, key));
    assert_eq!(counts, [0, 3, 31], "{answer}");
    let lines = fs::read_to_string(rejects).expect("it is there");
    for line in ["32,account 3", "34,account 4", "35,account 3"] {
        assert!(lines.contains(line), "{lines}");
    }
}

async fn an_account_with_another_opening_balance_is_a_conflict(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    insert_account(&database, 2, 99).await;
    let file = folder.write("accounts.csv", accounts(3));
    let before = everything(&database).await;
    let (output, answer) = import(&test, &file, &[]);
    let error = answer["error"].as_str().expect("a line");
    assert_eq!((output.status.code(), count(&answer, "rows")), (Some(1), 0), "{answer}");
    assert!(
        error.contains("line 3: account 2 is there already, with an opening balance of 99 and not 20"),
        "{error}"
    );
    assert!(everything(&database).await == before);

    let rejects = folder.path("rejects.csv");
    let run = Uuid::new_v4().to_string();
    let skip = ["--run", &run, "--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    for (rows, found) in [(2, 0), (0, 2)] {
        let (_, answer) = import(&test, &file, &skip);
        let counts = ["rows", "found", "rejected", "present"].map(|key| count(&answer, key));
        assert_eq!(counts, [rows, found, 1, 0], "{answer}");
        assert!(fs::read_to_string(&rejects).expect("it is there").contains("3,"));
    }
    assert_eq!(crate::books::balances(&database).await, [(1, 10), (2, 99), (3, 30)]);
}

async fn an_import_killed_again_and_again_gives_the_same_bank(server: &TestServer) {
    const COUNT: i64 = 20_000;
    let (test, clean, folder) = (server.database().await, server.database().await, Folder::new());
    let database = test.connect().await;
    let file = folder.write("accounts.csv", accounts(COUNT.unsigned_abs()));
    let run = Uuid::new_v4().to_string();
    let arguments =
        ["import", file.to_str().expect("a path"), "--chunk", "50", "--concurrency", "2", "--run", &run];
    let there = async || scalar(&database, "SELECT count(*) FROM accounts").await;
    for _ in 0..3 {
        let before = there().await;
        let mut importing = test.spawn("seabank", &arguments);
        while there().await < before + 150 && importing.try_wait().expect("it can be asked").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        importing.kill().expect("it can be killed");
        importing.wait().expect("it ends");
        let after = there().await;
        assert!(after < COUNT && after % 50 == 0, "whole chunks, and not all of them: {after}");
    }
    let (output, answer) = import(&test, &file, &arguments[2..]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((count(&answer, "rows") + count(&answer, "found")) as i64, COUNT, "{answer}");
    assert_eq!(count(&import(&clean, &file, &[]).1, "rows") as i64, COUNT);
    let bank = async |test: &TestDatabase| crate::books::balances(&test.connect().await).await;
    assert!(bank(&test).await == bank(&clean).await);
    assert_whole(&test);
}

async fn an_exported_bank_reads_back_the_same(server: &TestServer) {
    let (test, other, folder) = (server.database().await, server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "300"]).assert().success();
    test.seabank().args(["transfer", "--count", "50", "--rng-seed", "1"]).assert().success();
    for what in ["accounts", "transfers"] {
        let file = folder.path(&format!("{what}.csv"));
        let output = test.seabank().args(["export", what]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        fs::write(&file, &output.stdout).expect("it can be written");
        let packed = folder.path(&format!("{what}.csv.gz"));
        test.seabank().args(["export", what, "--output"]).arg(&packed).assert().success();
        assert_eq!(import(&other, &packed, &["--chunk", "70"]).0.status.code(), Some(0));
        // The same rows, unpacked, are all there.
        let (_, answer) = import(&other, &file, &[]);
        assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (0, 0), "{answer}");
    }
    assert!(everything(&test.connect().await).await == everything(&other.connect().await).await);
    assert_whole(&other);

    // What a link leads to is replaced, and not the link; what is no file is written to, and not replaced.
    let (link, pipe) = (folder.path("link.csv"), folder.path("pipe"));
    symlink(folder.path("accounts.csv"), &link).expect("a link can be made");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("it can be started");
    for output in [&link, &pipe] {
        test.seabank().args(["export", "accounts", "--output"]).arg(output).assert().success();
        assert!(!fs::symlink_metadata(output).expect("it is there").is_file());
    }
    let read = reader.wait_with_output().expect("it ends").stdout;
    assert!(read == fs::read(&link).expect("it is there"));
}

/// As `head` does: no more is wanted, and that is no failure.
async fn a_reader_of_an_export_may_leave(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "5000"]).assert().success();
    let mut exporting = test.program("seabank");
    let exporting = exporting.args(["export", "accounts"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut exporting = exporting.spawn().expect("it can be started");
    drop(exporting.stdout.take());
    let output = exporting.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

async fn a_transfer_of_nobody_is_rejected(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    insert_account(&database, 1, 10).await;
    let header = "id,source_id,target_id,amount\n";
    let id = Uuid::new_v4();
    for (row, words) in [
        (format!("{id},1,2,5"), "there is no account 2"),
        (format!("{id},1,1,5"), "both source and target"),
        (format!("{id},1,2,0"), "the amount is zero"),
        ("x,1,2,5".to_owned(), "is not a UUID"),
    ] {
        let (output, answer) = import(&test, &folder.write("t.csv", format!("{header}{row}\n")), &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(
            output.status.code() == Some(1) && error.contains("line 2: ") && error.contains(words),
            "{error}"
        );
        assert_eq!(scalar(&database, "SELECT count(*) FROM transfers").await, 0);
    }
}

async fn wrong_files_are_refused(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let missing = folder.path("missing.csv");
    for (file, words) in [
        (missing, "cannot be read"),
        (folder.0.path().to_owned(), "is a folder"),
        (folder.write("empty.csv", ""), "it is empty: the first line has to be a header"),
        (folder.write("headless.csv", "1,10\n"), "its first line is `1,10`"),
        (folder.write("other.csv", "id,balance,colour\n1,2,3\n"), "its first line is `id,balance,colour`"),
        (folder.write("plain.csv.gz", "id,balance\n1,2\n"), "it cannot be read"),
    ] {
        let (output, answer) = import(&test, &file, &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(2) && error.contains(words), "{error}");
    }
    let file = folder.write("accounts.csv", accounts(1));
    for arguments in
        [&["--on-error", "skip"][..], &["--rejects", "x.csv"], &["--chunk", "0"], &["--chunk", "x"]]
    {
        assert_eq!(import(&test, &file, arguments).0.status.code(), Some(2), "{arguments:?}");
    }
    test.seabank().args(["export", "accounts", "--format", "json"]).assert().code(2);
    test.seabank().args(["export", "accounts", "--output", "/nowhere/accounts.csv"]).assert().code(2);
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 0);
}

/// Memory does not grow with it.
async fn a_line_without_end_is_passed_over(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let path = folder.path("accounts.csv");
    let mut file = File::create(&path).expect("it can be made");
    file.write_all(b"id,balance\n1,10\n").expect("written");
    for _ in 0..100 {
        file.write_all(&[b'7'; 1 << 20]).expect("written");
    }
    file.write_all(b"\n2,20\n").expect("written");
    let rejects = folder.path("rejects.csv");
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (_, answer) = import(&test, &path, &skip);
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (2, 1), "{answer}");
    let text = fs::read_to_string(rejects).expect("it is there");
    assert!(text.contains("3,\"the line has 104857601 bytes") && text.len() < 10_000, "{text:.200}");
}
