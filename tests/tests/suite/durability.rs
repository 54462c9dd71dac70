//! Durability (guarantee 2): settings of the servers, and SQLite on a disk that loses power, fails
//! to sync, or is full.

use std::collections::BTreeSet;

use database::{Database, Options, Server};
use sea_orm::sqlx;
use tests::{FaultyDisk, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::background::{Background, Finished};
use crate::books::{execute, recorded};
use crate::crash::{assert_completed, assert_whole, open_rich_accounts};

pub(crate) fn tests() -> Vec<Test> {
    // The faulty disk needs Linux.
    let embedded: &[Server] = if cfg!(target_os = "linux") { &[Server::Sqlite] } else { &[] };
    tests![
        every_session_has_durable_settings on &[Server::Sqlite, Server::Postgres],
        the_cluster_syncs_its_log on &[Server::Cockroach],
        a_database_default_does_not_weaken_durability on &[Server::Postgres],
        reported_transfers_survive_a_power_cut on embedded,
        unsynced_transfers_are_not_reported_applied on embedded,
        one_failed_sync_is_retried on embedded,
        a_full_disk_loses_nothing on embedded,
    ]
}

async fn settings<const N: usize>(database: &Database, names: [&'static str; N]) -> Vec<[String; N]> {
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut found = Vec::new();
        match database.server {
            Server::Sqlite => {
                let mut session =
                    database.connection.get_sqlite_connection_pool().acquire().await.expect("a session");
                for sql in names {
                    let row = sqlx::query(sql).fetch_one(&mut *session).await.expect("a setting");
                    let number = sqlx::Row::try_get::<i64, _>(&row, 0).map(|it| it.to_string());
                    found.push(number.or_else(|_| sqlx::Row::try_get(&row, 0)).expect("a number or a text"));
                }
                sessions.push((Some(session), None, found));
            }
            Server::Postgres | Server::Cockroach => {
                let mut session =
                    database.connection.get_postgres_connection_pool().acquire().await.expect("a session");
                for sql in names {
                    found.push(sqlx::query_scalar(sql).fetch_one(&mut *session).await.expect("a setting"));
                }
                sessions.push((None, Some(session), found));
            }
        }
    }
    sessions.into_iter().map(|(_, _, found)| found.try_into().expect("as many as names")).collect()
}

async fn every_session_has_durable_settings(server: &TestServer) {
    let test = server.database().await;
    for options in [Options::default(), Options { max_connections: 3, ..Options::analysis() }] {
        let database = test.connect_with(&options).await;
        match server.server {
            Server::Sqlite => {
                let names = ["PRAGMA synchronous", "PRAGMA journal_mode", "PRAGMA foreign_keys"];
                // 2 is FULL: the log is synced before COMMIT returns.
                for found in settings(&database, names).await {
                    assert_eq!(found, ["2", "wal", "1"]);
                }
            }
            _ => {
                let names = [
                    "SHOW fsync",
                    "SHOW synchronous_commit",
                    "SHOW full_page_writes",
                    "SHOW transaction_isolation",
                ];
                for found in settings(&database, names).await {
                    assert_eq!(found, ["on", "on", "on", "serializable"]);
                }
            }
        }
    }
}

/// Its name depends on the version.
async fn the_cluster_syncs_its_log(server: &TestServer) {
    let database = server.database().await.connect().await;
    let count = "SELECT count(*) FROM crdb_internal.cluster_settings WHERE variable IN \
                 ('kv.raft_log.disable_synchronization_unsafe', 'kv.raft_log.synchronization.unsafe.disabled')";
    for (filter, expected) in [("", 1), (" AND value = 'false'", 1)] {
        assert_eq!(scalar(&database, &format!("{count}{filter}")).await, expected, "{filter}");
    }
}

async fn a_database_default_does_not_weaken_durability(server: &TestServer) {
    let test = server.database().await;
    for (default, expected) in [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        let alter = format!("ALTER DATABASE {} SET synchronous_commit = {default}", test.name);
        execute(&test.connect().await, &alter).await;
        for found in settings(&test.connect().await, ["SHOW synchronous_commit"]).await {
            assert_eq!(found, [expected], "the database's default is {default}");
        }
    }
}

/// A bank with rich accounts and no open connection.
async fn closed_bank(server: &TestServer) -> TestDatabase {
    let test = server.database().await;
    let database = test.connect().await;
    open_rich_accounts(&database).await;
    // Closing the last connection checkpoints the log into the file.
    database.connection.close().await.expect("the connection closes");
    test
}

fn transferring(test: &TestDatabase, count: &str, run: &str, disk: &FaultyDisk) -> Background {
    let arguments =
        ["transfer", "--count", count, "--amount", "1", "--concurrency", "4", "--retry-for", "10"];
    Background::start_with(test, &[&arguments[..], &["--run", run]].concat(), |command| disk.under(command))
}

async fn completed_afterwards(test: &TestDatabase, count: &str, run: &str, told: &Finished, context: &str) {
    let database = test.connect().await;
    let found = recorded(&database).await;
    assert!(told.applied.is_subset(&found), "{context}: reported applied, and missing");
    assert_whole(test);
    let again = transferring(test, count, run, &FaultyDisk::of(test)).end().await;
    assert_completed(&again, count.parse().expect("a number"));
    assert_eq!(again.count("already_applied"), found.len() as u64, "{context}");
    assert_whole(test);
}

/// Fails without `synchronous = FULL`.
async fn reported_transfers_survive_a_power_cut(server: &TestServer) {
    let test = closed_bank(server).await;
    let disk = FaultyDisk::of(&test).keeping_what_is_durable();
    let run = Uuid::new_v4().to_string();
    let mut reported = BTreeSet::new();
    for cut in 1..=3 {
        let mut telling = transferring(&test, "2000", &run, &disk);
        telling.wait_for_applied(cut * 60).await;
        reported.extend(telling.kill());
        disk.after_a_power_cut();
        assert_whole(&test);
        let database = test.connect().await;
        let found = recorded(&database).await;
        database.connection.close().await.expect("the connection closes");
        assert!(found.len() >= 60 && found.len() < 2000, "the power cut interrupts the run: {}", found.len());
        assert!(reported.is_subset(&found), "reported applied, but lost in the power cut");
    }
}

async fn unsynced_transfers_are_not_reported_applied(server: &TestServer) {
    let case = async |first: u32, power_cut: bool| {
        let context = format!("no sync from number {first} on, power cut: {power_cut}");
        let test = closed_bank(server).await;
        let disk = FaultyDisk::of(&test).failing_to_sync(first, None).keeping_what_is_durable();
        let run = Uuid::new_v4().to_string();
        let told = transferring(&test, "20", &run, &disk).end().await;
        assert_eq!(told.code, Some(4), "{context}: {told:?}");
        assert!(told.count("unknown") > 0 && told.count("applied") < 20, "{context}: {told:?}");
        assert!(told.failure().contains("seabank transfer"), "{context}: {told:?}");
        if power_cut {
            disk.after_a_power_cut();
        }
        completed_afterwards(&test, "20", &run, &told, &context).await;
    };
    tokio::join!(case(1, false), case(2, true), case(3, true), case(6, false), case(7, true));
}

async fn one_failed_sync_is_retried(server: &TestServer) {
    for number in 1..=6 {
        let context = format!("sync number {number} fails, and no other");
        let test = closed_bank(server).await;
        let disk = FaultyDisk::of(&test).failing_to_sync(number, Some(1)).keeping_what_is_durable();
        let run = Uuid::new_v4().to_string();
        let told = transferring(&test, "20", &run, &disk).end().await;
        assert_eq!((told.code, told.count("applied")), (Some(0), 20), "{context}: {told:?}");
        disk.after_a_power_cut();
        completed_afterwards(&test, "20", &run, &told, &context).await;
    }
}

async fn a_full_disk_loses_nothing(server: &TestServer) {
    for room in [60_000, 100_000, 140_000, 200_000] {
        let context = format!("room for {room} bytes more");
        let test = closed_bank(server).await;
        let run = Uuid::new_v4().to_string();
        let disk = FaultyDisk::of(&test).with_room(room);
        let told = transferring(&test, "60", &run, &disk).end().await;
        assert_eq!(told.code, Some(1), "{context}: {told:?}");
        assert!(told.failure().contains("free some space"), "{context}: {told:?}");
        assert_eq!((told.count("unknown"), told.count("applied") < 60), (0, true), "{context}: {told:?}");
        completed_afterwards(&test, "60", &run, &told, &context).await;
    }
    // Not even the log's index can be created.
    let test = closed_bank(server).await;
    let disk = FaultyDisk::of(&test).with_room(0);
    let told = transferring(&test, "10", &Uuid::new_v4().to_string(), &disk).end().await;
    assert!(told.code == Some(1) || told.code == Some(5), "{told:?}");
    assert_whole(&test);
}
