//! SQLite's file: complete without its log after each command, and never created by a reader.

use std::fs;
use std::path::Path;

use database::Server;
use sea_orm::sqlx::ConnectOptions;
use tests::{FaultyDisk, Test, TestDatabase, TestServer, command, tests};

use crate::background::Background;
use crate::books::everything;
use crate::files::Folder;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        the_file_is_complete_after_every_command on SQLITE,
        the_file_is_complete_after_an_interrupt on SQLITE,
        reading_commands_create_no_file on SQLITE,
        an_unusable_file_is_reported_at_once on SQLITE,
        a_bank_on_a_full_disk_is_readable on SQLITE,
    ]
}

const SQLITE: &[Server] = &[Server::Sqlite];

fn beside(file: &Path) -> Vec<String> {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let entries = fs::read_dir(file.parent().expect("a folder")).expect("readable");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|other| other.starts_with(&name) && *other != name).collect()
}

/// A copy of the file, without the log, has all rows.
async fn assert_alone(test: &TestDatabase, after: &str) {
    assert_eq!(beside(&test.file()), [""; 0], "after {after}");
    let folder = Folder::new();
    let copy = folder.path("copy.db");
    fs::copy(test.file(), &copy).expect("it can be copied");
    let mut audit = command("seabank");
    audit.args(["audit", "--database-url", &format!("sqlite://{}", copy.display())]);
    let audited = audit.output().expect("the command runs");
    assert!(audited.status.success(), "after {after}: {}", String::from_utf8_lossy(&audited.stderr));
    assert_eq!(beside(&copy), [""; 0], "after audit");
    let database = test.connect().await;
    let held = everything(&database).await;
    database.close().await;
    let exported = test.seabank().args(["export", "transfers"]).output().expect("the command runs").stdout;
    let rows = String::from_utf8_lossy(&exported).lines().count();
    assert_eq!(rows, held.1.len() + 1, "after {after}");
}

async fn the_file_is_complete_after_every_command(server: &TestServer) {
    let test = server.empty_database().await;
    for (program, arguments, code) in [
        ("seabank", &["demo"][..], 0),
        ("seabank", &["seed", "--count", "5000", "--chunk", "100"], 0),
        ("seabank", &["points", "--count", "100"], 0),
        ("seabank", &["transfer", "--count", "50", "--concurrency", "4"], 0),
        ("seabank", &["workload", "--max-ops", "50"], 0),
        ("seabank", &["audit"], 0),
        ("seabank", &["accounts"], 0),
        ("seabank", &["doctor"], 0),
        ("seabank", &["history", "-1"], 1),
        ("seabank", &["transfer", "--from", "-1", "--to", "-2", "--amount", "1"], 1),
        ("seabank", &["import", "/nowhere.csv"], 2),
        ("migration", &["up"], 0),
        ("migration", &["status"], 0),
        ("migration", &["up", "-n", "x"], 2),
    ] {
        for time in 1..=3 {
            let output = test.program(program).args(arguments).output().expect("the command runs");
            let after = format!("{program} {arguments:?}, time {time}");
            assert_eq!(output.status.code(), Some(code), "{after}: {output:?}");
            assert_alone(&test, &after).await;
        }
    }
    for arguments in [&["down"][..], &["up"], &["refresh"], &["reset"], &["up"]] {
        let output = test.program("migration").args(arguments).output().expect("the command runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(beside(&test.file()), [""; 0], "after {arguments:?}");
    }
}

async fn the_file_is_complete_after_an_interrupt(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "100"]).assert().success();
    for time in 0..3 {
        let mut loading = Background::start(&test, &["workload", "--duration", "60s", "--concurrency", "4"]);
        loading.wait_for_applied(20).await;
        loading.interrupt();
        assert_eq!(loading.end().await.code, Some(130));
        assert_alone(&test, &format!("interruption {time}")).await;
    }
}

async fn reading_commands_create_no_file(_: &TestServer) {
    let folder = Folder::new();
    let file = folder.path("bank.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    for (program, arguments, code) in [
        ("seabank", &["accounts"][..], 5),
        ("seabank", &["history", "1"], 5),
        ("seabank", &["audit"], 5),
        ("seabank", &["export", "accounts"], 5),
        ("seabank", &["doctor"], 5),
        ("seabank", &["transfer"], 5),
        ("seabank", &["seed"], 5),
        ("seabank", &["workload"], 5),
        ("seabank", &["init", "--no-password"], 2),
        ("migration", &["status"], 0),
        ("migration", &["down"], 0),
        ("migration", &["reset"], 0),
    ] {
        let output =
            command(program).args(arguments).env("DATABASE_URL", &url).output().expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(code != 5 || errors.contains("seabank migrate up"), "{arguments:?}: {errors}");
        let left: Vec<_> = fs::read_dir(file.parent().expect("a folder")).expect("a folder").collect();
        assert!(left.is_empty(), "{arguments:?} leaves {left:?}");
    }
}

async fn an_unusable_file_is_reported_at_once(server: &TestServer) {
    let test = server.database().await;
    let no_database = test.file().with_extension("text");
    fs::write(&no_database, "this is a text, and longer than the header of a database; ".repeat(40))
        .expect("the file is written");
    let mut lock = sea_orm::sqlx::sqlite::SqliteConnectOptions::new()
        .filename(test.file())
        .connect()
        .await
        .expect("open");
    for sql in ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "CREATE TABLE held (id INT)"] {
        sea_orm::sqlx::raw_sql(sql).execute(&mut lock).await.expect("the lock is held");
    }
    // With a log beside it.
    let other = server.database().await;
    let kept_open = other.connect().await;
    crate::books::insert_account(&kept_open, 1, 1).await;
    let failing = FaultyDisk::of(&other).failing_to_sync(1, None);
    for (program, arguments, url, disk, words) in [
        ("seabank", "accounts", format!("sqlite://{}", test.file().display()), None, "locked"),
        ("seabank", "seed", format!("sqlite://{}", test.file().display()), None, "locked"),
        ("migration", "status", format!("sqlite://{}", test.file().display()), None, "locked"),
        (
            "seabank",
            "accounts",
            format!("sqlite://{}", no_database.display()),
            None,
            "no database, or a damaged one",
        ),
        (
            "migration",
            "up",
            format!("sqlite://{}", no_database.display()),
            None,
            "no database, or a damaged one",
        ),
        ("seabank", "accounts", other.url().to_owned(), Some(&failing), "check the disk"),
        ("seabank", "seed", other.url().to_owned(), Some(&failing), "check the disk"),
    ] {
        let mut command = command(program);
        command.arg(arguments).env("DATABASE_URL", &url);
        if let Some(disk) = disk {
            disk.under(&mut command);
        }
        let started = std::time::Instant::now();
        let output = command.output().expect("the command runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{program} {arguments}: {told}");
        assert!(!told.contains("cockroach") && told.lines().count() <= 2, "{program} {arguments}: {told}");
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

async fn a_bank_on_a_full_disk_is_readable(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "100"]).assert().success();
    let full = FaultyDisk::of(&test).with_room(0);
    for (arguments, reads) in [
        (&["accounts"][..], true),
        (&["audit"], true),
        (&["export", "accounts"], true),
        (&["seed", "--count", "1000"], false),
        (&["transfer"], false),
    ] {
        let mut command = test.program("seabank");
        command.args(arguments);
        full.under(&mut command);
        let output = command.output().expect("the command runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), reads, "{arguments:?}: {told}");
        assert!(reads || told.contains("free some space"), "{arguments:?}: {told}");
        assert!(!told.contains("cockroach"), "{arguments:?}: {told}");
    }
}
