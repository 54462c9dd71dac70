//! Import and export: each file is imported once, and an exported bank reads back the same.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use database::Server;
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::file::OnError;
use seabank::bank::import::{COPY_MIN, Imported};
use tests::{Loss, Tap, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::books::{everything, insert_account, loading, tapped};
use crate::crash::assert_whole;
use crate::files::{Folder, accounts, count, import};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_file_is_imported_and_found_again,
        many_rows_are_copied_around_existing_ones on WIRE,
        a_gzipped_file_is_unpacked,
        an_import_killed_repeatedly_gives_the_same_bank,
        an_exported_bank_reads_back_the_same,
        a_reader_of_an_export_may_leave,
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

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

    // COPY meets existing rows.
    let (_, more) = import(&test, &folder.write("more.csv", accounts(400)), &["--chunk", "100"]);
    assert_eq!((count(&more, "rows"), count(&more, "present")), (150, 250));
    assert_whole(&test);
}

/// An answer to COMMIT is lost after delivery, another before, and a chunk meets an existing row.
async fn many_rows_are_copied_around_existing_ones(server: &TestServer) {
    let count = 3 * COPY_MIN + 10;
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 5000, 50_000).await;
    let tap = Tap::new(&database).losing(&[Loss::AfterCommit, Loss::BeforeCommit]);
    let bank = Bank::on(tapped(&tap, Policy::default()));
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
    let file = File::create(&path).expect("the file is created");
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    packed.write_all(accounts(50).as_bytes()).expect("the file is written");
    packed.finish().expect("the file is written");
    assert_eq!(count(&import(&test, &path, &[]).1, "rows"), 50);

    // Truncated: complete chunks stay.
    let bytes = fs::read(&path).expect("the file exists");
    let cut = folder.write("cut.csv.gz", &bytes[..bytes.len() / 2]);
    let (output, answer) = import(&test, &cut, &[]);
    assert_eq!((output.status.code(), &answer["kind"]), (Some(1), &"unreadable".into()), "{answer}");
}

async fn an_import_killed_repeatedly_gives_the_same_bank(server: &TestServer) {
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
        while there().await < before + 150 && importing.try_wait().expect("the process is polled").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        importing.kill().expect("the process is killed");
        importing.wait().expect("the process ends");
        let after = there().await;
        assert!(after < COUNT && after % 50 == 0, "whole chunks, but not all of them: {after}");
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
        let output = test.seabank().args(["export", what]).output().expect("the command runs");
        assert!(output.status.success(), "{output:?}");
        fs::write(&file, &output.stdout).expect("the file is written");
        let packed = folder.path(&format!("{what}.csv.gz"));
        test.seabank().args(["export", what, "--output"]).arg(&packed).assert().success();
        assert_eq!(import(&other, &packed, &["--chunk", "70"]).0.status.code(), Some(0));
        let (_, answer) = import(&other, &file, &[]);
        assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (0, 0), "{answer}");
    }
    assert!(everything(&test.connect().await).await == everything(&other.connect().await).await);
    assert_whole(&other);

    // A link's target is replaced, a pipe is written to.
    let (link, pipe) = (folder.path("link.csv"), folder.path("pipe"));
    symlink(folder.path("accounts.csv"), &link).expect("the link is created");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("the command runs").success());
    let reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("the process starts");
    for output in [&link, &pipe] {
        test.seabank().args(["export", "accounts", "--output"]).arg(output).assert().success();
        assert!(!fs::symlink_metadata(output).expect("the file exists").is_file());
    }
    let read = reader.wait_with_output().expect("the process ends").stdout;
    assert!(read == fs::read(&link).expect("the file exists"));
}

/// `| head` is not a failure.
async fn a_reader_of_an_export_may_leave(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "5000"]).assert().success();
    let mut exporting = test.program("seabank");
    let exporting = exporting.args(["export", "accounts"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut exporting = exporting.spawn().expect("the process starts");
    drop(exporting.stdout.take());
    let output = exporting.wait_with_output().expect("the process ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
