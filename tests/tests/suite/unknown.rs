//! Ambiguous commits when the server is gone, through the binary (guarantee 2): exit code 4, and a
//! line with the id and a command that settles the transfer later, applied or not.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use database::Server;
use serde_json::Value;
use tests::{Fault, OwnServer, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::background::{Background, Finished, follow};
use crate::books::{balances, execute, recorded};
use crate::crash::{assert_whole, open_rich_accounts};

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_ambiguous_transfer_is_settled_by_its_command on &[Server::Postgres],
        each_unknown_transfer_of_a_run_is_named on &[Server::Postgres],
        an_unanswered_commit_is_resolved_in_time on WIRE,
        a_run_whose_server_stays_away_names_its_unknown_transfers on WIRE,
    ]
}

/// Delays a COMMIT until the server has crashed.
struct CommitDelay {
    applied: bool,
    set: &'static [&'static str],
    waits_for: &'static str,
    /// Reverts what survives the crash.
    undo: &'static str,
}

const COMMIT_DELAYS: [CommitDelay; 2] = [
    CommitDelay {
        // Written and synced; waits for a missing standby.
        applied: true,
        set: &["ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"],
        waits_for: "SyncRep",
        undo: "ALTER SYSTEM RESET synchronous_standby_names",
    },
    CommitDelay {
        // COMMIT begins with deferred triggers.
        applied: false,
        set: &[
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON batches DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION linger()",
            "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION linger()",
        ],
        waits_for: "PgSleep",
        undo: "DROP FUNCTION IF EXISTS linger() CASCADE",
    },
];

async fn an_ambiguous_transfer_is_settled_by_its_command(server: &TestServer) {
    let Some(mut own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    for delay in COMMIT_DELAYS {
        let [transfer, seed] = ended_in_commit(
            &mut own,
            &test,
            &delay,
            [
                &["transfer", "--from", "1", "--to", "2", "--amount", "7", "--retry-for", "3"],
                &["seed", "--count", "5", "--retry-for", "3"],
            ],
        )
        .await;
        own.restart().await.expect("the server recovers");
        execute(&test.connect().await, delay.undo).await;

        let id: Uuid = transfer.answer["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let line = transfer.failure();
        assert_eq!((transfer.code, transfer.count("unknown")), (Some(4), 1), "{transfer:?}");
        assert!(line.contains(&format!("seabank transfer --id {id} --from 1 --to 2 --amount 7")), "{line}");
        assert_eq!(recorded(&test.connect().await).await.contains(&id), delay.applied);
        let before = balances(&test.connect().await).await;
        for (ask, settled) in
            [(1, if delay.applied { "already_applied" } else { "applied" }), (2, "already_applied")]
        {
            let output = follow(&test, line, "to settle it run");
            let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
            assert_eq!((output.status.code(), &answer[settled]), (Some(0), &1.into()), "{ask}: {answer}");
        }
        let moved = if delay.applied { 0 } else { 7 };
        let after = balances(&test.connect().await).await;
        assert_eq!((before[0].1 - moved, before[1].1 + moved), (after[0].1, after[1].1));

        let line = seed.failure();
        assert_eq!(seed.code, Some(4), "{seed:?}");
        let output = follow(&test, line, "to settle it run");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
        assert_eq!(
            (output.status.code(), &answer[if delay.applied { "found" } else { "created" }]),
            (Some(0), &5.into())
        );
        assert_whole(&test);
    }
    assert_eq!(scalar(&test.connect().await, "SELECT CAST(sum(rows) AS BIGINT) FROM batches").await, 10);
}

async fn each_unknown_transfer_of_a_run_is_named(server: &TestServer) {
    let Some(mut own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    let many = ["transfer", "--count", "40", "--amount", "1", "--concurrency", "3", "--retry-for", "3"];
    let [told] = ended_in_commit(&mut own, &test, &COMMIT_DELAYS[0], [&many]).await;
    own.restart().await.expect("the server recovers");

    assert!(told.code == Some(4) && told.count("unknown") > 0, "{told:?}");
    let unknown = each_unknown_is_named(&told);
    // The delayed transfer was applied; others may have been anywhere in their COMMIT.
    let recorded = recorded(&test.connect().await).await;
    assert!(unknown.intersection(&recorded).next().is_some(), "{unknown:?}");
    let output = follow(&test, told.failure(), "to complete the run");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    let applied = (answer["already_applied"].as_u64(), answer["applied"].as_u64());
    let landed = recorded.len() as u64;
    assert!(landed <= unknown.len() as u64 + told.count("applied"), "only reported transfers may be applied");
    assert_eq!((output.status.code(), applied), (Some(0), (Some(landed), Some(40 - landed))), "{answer}");
    assert_whole(&test);
}

/// As after a lost node; a new connection reaches another.
async fn an_unanswered_commit_is_resolved_in_time(server: &TestServer) {
    let test = server.database().await;
    open_rich_accounts(&test.connect().await).await;
    let transfer = ["transfer", "--from", "1", "--to", "2", "--amount", "7", "--retry-for", "20"];
    for delivered in [true, false] {
        let proxy = test.proxy().await;
        let mut struck = false;
        proxy.arm(move |request| {
            let strikes = !struck && request.commits();
            struck |= strikes;
            strikes.then_some(Fault::Silent { delivered })
        });
        let url = proxy.url(test.url());
        let through = |command: &mut Command| {
            command.env("DATABASE_URL", url);
        };
        let told = Background::start_with(&test, &transfer, through).end().await;
        assert_eq!((told.code, told.count("applied"), told.count("retries")), (Some(0), 1, 1), "{told:?}");
        proxy.settle().await;
    }
    assert_eq!(recorded(&test.connect().await).await.len(), 2);
    assert_whole(&test);
}

/// Crashes the server while each command's COMMIT is delayed.
async fn ended_in_commit<const N: usize>(
    own: &mut OwnServer,
    test: &TestDatabase,
    delay: &CommitDelay,
    commands: [&[&str]; N],
) -> [Finished; N] {
    let admin = own.admin().await;
    let database = test.connect().await;
    for sql in delay.set {
        execute(&database, sql).await;
    }
    let waiting = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event = '{}'", delay.waits_for);
    let started = Instant::now();
    let mut held = Vec::new();
    for command in commands {
        let mut telling = Background::start(test, command);
        while scalar(&admin, &waiting).await <= held.len() as i64 {
            // Reloading takes time.
            if telling.has_ended() {
                telling = Background::start(test, command);
            }
            assert!(started.elapsed() < Duration::from_secs(60), "nothing waits for {}", delay.waits_for);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        held.push(telling);
    }
    if delay.applied {
        // Read by the next start only.
        execute(&admin, delay.undo).await;
    }
    own.crash();
    let mut told = Vec::new();
    for telling in held {
        told.push(telling.end().await);
    }
    told.try_into().expect("as many as commands")
}

/// Each has a line with its id and the command that settles it.
fn each_unknown_is_named(told: &Finished) -> BTreeSet<Uuid> {
    let unknown = named(told, "it is not known");
    assert_eq!(unknown.len() as u64, told.count("unknown"), "every unknown transfer is named: {told:?}");
    for id in &unknown {
        assert!(told.errors.contains(&format!("seabank transfer --id {id} --from ")), "{told:?}");
    }
    unknown
}

fn named(told: &Finished, word: &str) -> BTreeSet<Uuid> {
    let lines = told.errors.lines().filter_map(|line| line.strip_prefix("transfer "));
    lines
        .filter_map(|line| line.split_once(": ").filter(|(_, rest)| rest.starts_with(word)))
        .map(|(id, _)| id.parse().expect("an id"))
        .collect()
}

async fn a_run_whose_server_stays_away_names_its_unknown_transfers(server: &TestServer) {
    const COUNT: u64 = 300;
    let Some(mut own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    let transfer = ["transfer", "--count", "300", "--amount", "1", "--concurrency", "16", "--retry-for", "3"];
    let mut transferring = Background::start(&test, &transfer);
    transferring.wait_for_applied(50).await;
    own.crash();
    let told = transferring.end().await;
    own.restart().await.expect("the server recovers");
    let recorded_then = recorded(&test.connect().await).await;

    let ended: u64 = ["applied", "already_applied", "skipped", "failed", "unknown"]
        .iter()
        .map(|key| told.count(key))
        .sum();
    assert!(ended < COUNT && told.failure().contains("were not begun"), "the run does not stop: {told:?}");
    assert_eq!(told.applied.len() as u64, told.count("applied"));
    assert!(told.applied.is_subset(&recorded_then), "reported applied, but missing");

    let (unknown, failed) = (each_unknown_is_named(&told), named(&told, "given up"));
    assert!(failed.is_disjoint(&recorded_then), "reported failed, but applied");
    assert_eq!(told.code, Some(if unknown.is_empty() { 1 } else { 4 }), "{told:?}");

    let output = follow(&test, told.failure(), "to complete the run");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert_eq!(answer["already_applied"].as_u64(), Some(recorded_then.len() as u64), "{answer}");
    let recorded_now = recorded(&test.connect().await).await;
    assert_eq!(recorded_now.len() as u64, COUNT);
    assert!(unknown.is_subset(&recorded_now) && failed.is_subset(&recorded_now));
    assert_whole(&test);
}
