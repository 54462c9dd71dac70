//! Unacknowledged commits, through the binary: PostgreSQL waits for a missing synchronous standby.
//! Neither the command that wrote a row nor one that finds it reports it applied.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{OwnServer, Postgres, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::background::{Background, Finished};
use crate::books::execute;
use crate::crash::{assert_whole, open_rich_accounts};

pub(crate) fn tests() -> Vec<Test> {
    let on = &[database::Server::Postgres];
    tests![
        rows_without_a_standby_are_not_reported_applied within 600 s on on,
        rows_on_a_standby_are_reported_applied on on,
    ]
}

struct Command {
    name: &'static str,
    arguments: Vec<String>,
}

/// Every writing command and style, on separate accounts.
fn commands() -> Vec<Command> {
    let command =
        |name, line: &str| Command { name, arguments: line.split_whitespace().map(str::to_owned).collect() };
    let id = Uuid::new_v4;
    vec![
        command("seed", &format!("seed --count 5 --rng-seed 1 --run {}", id())),
        command("points", &format!("points --count 5 --rng-seed 1 --run {}", id())),
        command("builder", &format!("transfer --from 1 --to 2 --amount 7 --id {}", id())),
        command("builder, half", &format!("transfer --from 3 --to 4 --id {}", id())),
        command("orm", &format!("transfer --style orm --from 5 --to 6 --amount 7 --id {}", id())),
        command("single", &format!("transfer --style single --from 7 --to 8 --amount 7 --id {}", id())),
        command(
            "a run of several",
            &format!("transfer --from 9 --to 10 --amount 7 --count 3 --concurrency 3 --run {}", id()),
        ),
    ]
}

async fn run_all(test: &TestDatabase, commands: &[Command], retry_for: &str) -> Vec<(Finished, Duration)> {
    let one = async |command: &Command| {
        let mut arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        arguments.extend(["--retry-for", retry_for]);
        let started = Instant::now();
        (Background::start(test, &arguments).end().await, started.elapsed())
    };
    futures_util::future::join_all(commands.iter().map(one)).await
}

fn told_applied(answer: &Value) -> u64 {
    ["applied", "already_applied", "created", "found", "rows"]
        .iter()
        .filter_map(|key| answer[key].as_u64())
        .sum()
}

fn assert_unknown(commands: &[Command], told: &[(Finished, Duration)], at_most: Duration) {
    for (command, (told, took)) in commands.iter().zip(told) {
        let name = command.name;
        // It lost a conflict to a COMMIT that waits.
        let lost = told.code == Some(1) && told.answer["kind"] == "retries_exhausted";
        assert!(told.code == Some(4) || lost, "{name}: {told:?}");
        assert_eq!(told_applied(&told.answer), 0, "{name}: {}", told.answer);
        assert!(told.applied.is_empty(), "{name}: {told:?}");
        let settle = format!("seabank {}", command.arguments[0]);
        let words = if lost { "nothing of it is applied" } else { &settle };
        assert!(told.failure().contains(words), "{name} says how it is settled: {told:?}");
        assert!(*took < at_most, "{name} took {took:?}");
    }
}

fn assert_applied(commands: &[Command], told: &[(Finished, Duration)]) {
    for (command, (told, _)) in commands.iter().zip(told) {
        let expected = match command.name {
            "seed" | "points" => 5,
            "a run of several" => 3,
            _ => 1,
        };
        assert_eq!(
            (told.code, told_applied(&told.answer)),
            (Some(0), expected),
            "{}: {told:?}",
            command.name
        );
    }
}

async fn written(test: &TestDatabase) -> [i64; 3] {
    let database = test.connect().await;
    let mut counts = [0; 3];
    for (count, table) in counts.iter_mut().zip(["accounts", "points", "transfers"]) {
        *count = scalar(&database, &format!("SELECT count(*) FROM {table}")).await;
    }
    counts
}

async fn rows_without_a_standby_are_not_reported_applied(_: &TestServer) {
    let programs = Postgres::find().expect("PostgreSQL's programs are installed");
    let own = OwnServer::Postgres(Postgres::start(&programs).await.expect("the server starts"));
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    let [accounts, ..] = written(&test).await;
    let admin = own.admin().await;
    for sql in [
        "SET synchronous_commit = local",
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        execute(&admin, sql).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let commands = commands();
    let told = run_all(&test, &commands, "18").await;
    assert_unknown(&commands, &told, Duration::from_secs(60));
    // Ends only the wait: the rows become visible, and no standby has them.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while scalar(&admin, waiting).await > 0 {
        execute(&admin, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let everything = [accounts + 5, 5, 7];
    // Unknown: committed on this server only. Lost a conflict: not committed.
    let committed =
        |name| told.iter().zip(&commands).any(|((told, _), it)| it.name == name && told.code == Some(4));
    let rows = |name| if committed(name) { 5 } else { 0 };
    // These three transfers share two accounts.
    let [with_seed, points, transfers] = written(&test).await;
    let expected = [accounts + rows("seed"), rows("points")];
    assert_eq!([with_seed, points], expected, "committed here, not acknowledged: {told:?}");
    assert!((5..=7).contains(&transfers), "{transfers}");
    let told = run_all(&test, &commands, "2").await;
    assert_unknown(&commands, &told, Duration::from_secs(60));
    for sql in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
        execute(&admin, sql).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_applied(&commands, &run_all(&test, &commands, "60").await);
    assert_eq!(written(&test).await, everything, "each was applied once");
    assert_whole(&test);
}

async fn rows_on_a_standby_are_reported_applied(_: &TestServer) {
    let programs = Postgres::find().expect("PostgreSQL's programs are installed");
    let primary = Postgres::start(&programs).await.expect("the server starts");
    let standby = primary.standby().await.expect("the server starts");
    let mut own = OwnServer::Postgres(primary);
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    let admin = own.admin().await;
    for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        execute(&admin, sql).await;
    }
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    while scalar(&admin, synchronous).await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let commands = commands();
    assert_applied(&commands, &run_all(&test, &commands, "60").await);
    assert_applied(&commands, &run_all(&test, &commands, "60").await);
    let everything = written(&test).await;
    own.crash();
    let promoted = test.moved_to(standby.url(&test.name));
    // A bare connection: the bank's pool requires SERIALIZABLE, which a standby refuses.
    crate::pools::execute(&crate::pools::open(promoted.url(), 1).await, "SELECT pg_promote()").await;
    assert_eq!(written(&promoted).await, everything, "reported transfers survive the primary");
    assert_whole(&promoted);
}
