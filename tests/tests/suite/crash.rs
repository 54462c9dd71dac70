//! Crashes: `kill -9` of program and server (guarantees 1, 2 and 4). Transfers reported applied
//! exist, the audit passes, and the same command completes the work.
//!
//! Failing disks: `durability`. Servers that stay away: `unknown`.

use std::collections::BTreeSet;
use std::time::Duration;

use database::{Database, Server};
use seabank::bank::transfer::Style;
use tests::{OwnServer, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::background::{Background, Finished};
use crate::books::{insert_account, recorded};
use crate::files::Folder;

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_seed_killed_repeatedly_is_completed,
        transfers_killed_repeatedly_are_completed,
        batches_killed_repeatedly_are_completed,
        payments_survive_a_server_crash on WIRE,
        transfers_survive_a_server_crash on WIRE,
    ]
}

/// Few enough for 16 workers to conflict.
const ACCOUNTS: i64 = 64;

pub(crate) async fn open_rich_accounts(database: &Database) {
    for id in 1..=ACCOUNTS {
        insert_account(database, id, 1_000_000).await;
    }
}

pub(crate) fn assert_whole(test: &TestDatabase) {
    let audit = test.seabank().args(["audit", "--format", "json"]).output().expect("the command runs");
    assert_eq!(audit.status.code(), Some(0), "{}", String::from_utf8_lossy(&audit.stdout));
}

async fn a_seed_killed_repeatedly_is_completed(server: &TestServer) {
    const COUNT: i64 = 20_000;
    const CHUNK: i64 = 50;
    let test = server.database().await;
    let database = test.connect().await;
    let run = Uuid::new_v4().to_string();
    let seed = ["seed", "--count", "20000", "--chunk", "50", "--run", &run, "--rng-seed", "1"];
    let count = async || scalar(&database, "SELECT count(*) FROM accounts").await;
    for kill in 1..=4 {
        let before = count().await;
        let seeding = Background::start(&test, &seed);
        while count().await < before + kill * CHUNK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seeding.kill();
        let after = count().await;
        assert!(after < COUNT && after % CHUNK == 0, "whole chunks, but not all of them: {after}");
        // In one snapshot: a request of the killed process may still commit.
        let difference =
            "SELECT (SELECT count(*) FROM accounts) - (SELECT CAST(sum(rows) AS BIGINT) FROM batches)";
        assert_eq!(scalar(&database, difference).await, 0);
        assert_whole(&test);
    }
    let before = count().await;
    let told = Background::start(&test, &seed).end().await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!((told.count("created") + told.count("found")) as i64, COUNT);
    // A request of the killed process may have committed since.
    assert!(told.count("found") as i64 >= before, "{told:?}");
    assert_eq!(count().await, COUNT);
    assert_eq!(scalar(&database, "SELECT CAST(sum(rows) AS BIGINT) FROM batches").await, COUNT);
    assert_whole(&test);
}

async fn transfers_killed_repeatedly_are_completed(server: &TestServer) {
    const COUNT: u64 = 500;
    let test = server.database().await;
    let database = test.connect().await;
    open_rich_accounts(&database).await;
    let run = Uuid::new_v4().to_string();
    let transfer = ["transfer", "--count", "500", "--amount", "1", "--concurrency", "16", "--run", &run];
    let mut reported = BTreeSet::new();
    for kill in 1..=3 {
        let mut transferring = Background::start(&test, &transfer);
        transferring.wait_for_applied(kill * 40).await;
        reported.extend(transferring.kill());
        assert!(reported.is_subset(&recorded(&database).await), "reported applied, but missing");
        assert_whole(&test);
    }
    let before = recorded(&database).await.len() as u64;
    assert!(before < COUNT, "the run is incomplete");
    let told = Background::start(&test, &transfer).end().await;
    assert_completed(&told, COUNT);
    // A request of the killed process may have committed since; SQLite has none.
    assert!(told.count("already_applied") >= before, "{told:?}");
    assert!(server.server != Server::Sqlite || told.count("already_applied") == before, "{told:?}");
    reported.extend(told.applied);
    assert!(reported == recorded(&database).await && reported.len() as u64 == COUNT);
    assert_whole(&test);
}

async fn batches_killed_repeatedly_are_completed(server: &TestServer) {
    const COUNT: u64 = 600;
    let test = server.database().await;
    let database = test.connect().await;
    open_rich_accounts(&database).await;
    let run = Uuid::new_v4().to_string();
    let transfer =
        ["transfer", "--count", "600", "--amount", "1", "--concurrency", "4", "--batch", "20", "--run", &run];
    let mut reported = BTreeSet::new();
    for kill in 1..=3 {
        let mut transferring = Background::start(&test, &transfer);
        transferring.wait_for_applied(kill * 40).await;
        reported.extend(transferring.kill());
        assert!(reported.is_subset(&recorded(&database).await), "reported applied, but missing");
        assert_whole(&test);
    }
    assert!((recorded(&database).await.len() as u64) < COUNT, "the run is incomplete");
    let told = Background::start(&test, &transfer).end().await;
    assert_completed(&told, COUNT);
    reported.extend(told.applied);
    assert!(reported == recorded(&database).await && reported.len() as u64 == COUNT);
    assert_whole(&test);
}

pub(crate) fn assert_completed(told: &Finished, count: u64) {
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(told.count("applied") + told.count("already_applied"), count, "{told:?}");
}

/// The server first refuses connections, then reports that it is starting up.
async fn transfers_survive_a_server_crash(server: &TestServer) {
    let Some(mut own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    for style in Style::on(server.server).map(Style::name) {
        let run = Uuid::new_v4().to_string();
        let transfer = ["transfer", "--count", "300", "--amount", "1", "--concurrency", "16", "--run", &run];
        let transfer = [&transfer[..], &["--style", style]].concat();
        let mut transferring = Background::start(&test, &transfer);
        transferring.wait_for_applied(60).await;
        own.crash();
        let reported = transferring.applied();
        tokio::time::sleep(Duration::from_millis(1000)).await;
        own.restart().await.expect("the server recovers");
        assert!(reported.is_subset(&recorded(&test.connect().await).await), "reported applied, but missing");

        let told = transferring.end().await;
        assert_eq!(told.code, Some(0), "{told:?}");
        assert_eq!((told.count("applied"), told.count("failed"), told.count("unknown")), (300, 0, 0));
        assert!(reported.len() < 300 && told.count("retries") > 0, "the crash interrupts the run: {told:?}");
        assert!(told.applied.is_subset(&recorded(&test.connect().await).await));
        assert_whole(&test);
        let again = Background::start(&test, &transfer).end().await;
        assert_eq!(again.count("already_applied"), 300, "{again:?}");
    }
}

async fn payments_survive_a_server_crash(server: &TestServer) {
    let Some(mut own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let (test, folder) = (own.bank().await, Folder::new());
    open_rich_accounts(&test.connect().await).await;
    let row = |n: i64| {
        format!("{},{},{},1\n", Uuid::from_u128(n as u128), n % ACCOUNTS + 1, (n * 7 + 1) % ACCOUNTS + 1)
    };
    // Source and target differ: 6 n + 1 is odd.
    let text = "id,source_id,target_id,amount\n".to_owned() + &(0..3000).map(row).collect::<String>();
    let file = folder.write("t.csv", text);
    let run = Uuid::new_v4().to_string();
    let pay = ["pay", file.to_str().expect("a path"), "--chunk", "10", "--concurrency", "4", "--run", &run];
    let mut paying = Background::start(&test, &pay);
    paying.wait_for_applied(200).await;
    own.crash();
    let reported = paying.applied();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    own.restart().await.expect("the server recovers");
    assert!(reported.is_subset(&recorded(&test.connect().await).await), "reported applied, but missing");
    let told = paying.end().await;
    assert_eq!((told.code, told.count("applied"), told.count("rejected")), (Some(0), 3000, 0), "{told:?}");
    assert!(reported.len() < 3000 && told.count("retries") > 0, "the crash interrupts the run: {told:?}");
    assert!(told.applied == recorded(&test.connect().await).await);
    assert_whole(&test);
}
