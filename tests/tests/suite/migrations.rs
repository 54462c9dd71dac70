//! Migrations: applied, rolled back, concurrent, refused.

mod refused;

use std::process::Stdio;
use std::time::{Duration, Instant};

use database::{Database, Server};
use migration::{Command, WithoutForeignKeys};
use sea_orm::{ConnectionTrait, Statement};
use tests::{Test, TestDatabase, TestServer, tests};

use crate::books::{execute, insert_account, insert_transfer};
use refused::{
    a_newer_schema_exits_with_5, a_silent_server_exits_with_5_within_10_s, no_database_exits_with_5,
    no_rights_exit_with_5, no_server_exits_with_5, wrong_usage_exits_with_2,
};

pub(crate) fn tests() -> Vec<Test> {
    let timed = tests![alone: a_silent_server_exits_with_5_within_10_s];
    let others = tests![
        up_applies_everything_once,
        every_command_restores_the_schema,
        the_flags_of_sea_orm_cli_work,
        four_concurrent_migrators_succeed,
        concurrent_fresh_and_up_leave_the_whole_schema,
        a_killed_migrator_is_taken_over,
        an_unrecorded_change_is_applied_again,
        invalid_rows_are_refused_by_the_schema,
        a_schema_without_foreign_keys_takes_any_transfer,
        wrong_usage_exits_with_2,
        no_server_exits_with_5,
        no_database_exits_with_5 on &[Server::Postgres, Server::Cockroach],
        no_rights_exit_with_5 on &[Server::Postgres],
        a_newer_schema_exits_with_5,
        a_slow_statement_is_not_logged on &[Server::Postgres],
        lines_in_a_pipe_have_no_colours,
    ];
    [timed, others].concat()
}

const TABLES: [&str; 4] = ["accounts", "transfers", "points", "batches"];

fn migrate(test: &TestDatabase, arguments: &[&str]) -> String {
    let output = test.migration().args(arguments).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(test: &TestDatabase, arguments: &[&str], code: i32) -> String {
    let started = Instant::now();
    let output = test.migration().args(arguments).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(started.elapsed() < Duration::from_secs(10), "{arguments:?} took {:?}", started.elapsed());
    let [line] = errors.lines().collect::<Vec<_>>()[..] else {
        panic!("{arguments:?}: one line, not {errors}")
    };
    assert!(line.starts_with("error: "), "{line}");
    line.to_owned()
}

async fn is_there(database: &Database, table: &str) -> bool {
    let sql = format!("SELECT count(*) FROM {table}");
    let statement = Statement::from_string(database.connection.get_database_backend(), sql);
    database.connection.query_one_raw(statement).await.is_ok()
}

async fn tables(test: &TestDatabase) -> Vec<&'static str> {
    let database = test.connect_for_analysis().await;
    let mut there = Vec::new();
    for table in TABLES {
        if is_there(&database, table).await {
            there.push(table);
        }
    }
    there
}

async fn is_complete(test: &TestDatabase) {
    assert_eq!(tables(test).await, TABLES);
    let database = test.connect_for_analysis().await;
    assert_eq!(migration::pending(&database).await.expect("readable"), [""; 0]);
    let recorded = tests::scalar(&database, "SELECT count(*) FROM seaql_migrations").await;
    assert_eq!(usize::try_from(recorded), Ok(migration::total()));
    for id in [1, 2] {
        insert_account(&database, id, 10).await;
    }
    insert_transfer(&database, 1, 2, 1).await.expect("two accounts");
    execute(&database, "INSERT INTO points (x, y, z) VALUES (1, 2, 3)").await;
    insert_transfer(&database, 1, 3, 1).await.expect_err("the foreign keys are there");
}

async fn up_applies_everything_once(server: &TestServer) {
    let test = server.empty_database().await;
    let first = migrate(&test, &["up"]);
    assert_eq!(
        first.lines().filter(|line| line.starts_with("Applied m")).count(),
        migration::total(),
        "{first}"
    );
    let second = migrate(&test, &["up"]);
    assert!(second.starts_with("Nothing to apply"), "{second}");
    assert!(migrate(&test, &[]).starts_with("Nothing to apply"), "no command is up");
    is_complete(&test).await;
}

async fn every_command_restores_the_schema(server: &TestServer) {
    let test = server.empty_database().await;
    let status = |test: &TestDatabase| {
        let text = migrate(test, &["status"]);
        (text.matches("Applied").count(), text.matches("Pending").count())
    };
    let all = migration::total();
    assert_eq!(status(&test), (0, all));
    migrate(&test, &["up"]);
    assert_eq!(status(&test), (all, 0));
    let down = migrate(&test, &["down"]);
    assert!(down.contains("Rolled back m20260101_000006_create_batches"), "{down}");
    assert_eq!(status(&test), (all - 1, 1));
    assert_eq!(tables(&test).await, TABLES[..3]);
    migrate(&test, &["up"]);
    migrate(&test, &["refresh"]);
    assert_eq!(status(&test), (all, 0));
    let reset = migrate(&test, &["reset"]);
    assert_eq!(reset.lines().count(), all, "{reset}");
    assert_eq!(status(&test), (0, all));
    assert_eq!(tables(&test).await, [""; 0]);
    migrate(&test, &["up"]);
    let database = test.connect_for_analysis().await;
    execute(&database, "CREATE TABLE somebody_elses (id BIGINT PRIMARY KEY)").await;
    let fresh = migrate(&test, &["fresh", "--yes"]);
    assert!(fresh.contains("Dropped table somebody_elses"), "{fresh}");
    assert!(!is_there(&database, "somebody_elses").await);
    is_complete(&test).await;
}

/// As `sea-orm-cli migrate` passes them.
async fn the_flags_of_sea_orm_cli_work(server: &TestServer) {
    let test = server.empty_database().await;
    migrate(&test, &["up", "-n", "2", "-s", "public"]);
    assert_eq!(tables(&test).await, TABLES[..2]);
    migrate(&test, &["down", "-n", "1", "-v"]);
    assert_eq!(tables(&test).await, TABLES[..1]);
    let output =
        tests::command("migration").args(["up", "-u", test.url()]).output().expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(migrate(&test, &["status", "-v"]).contains("Applied"));
    is_complete(&test).await;
}

async fn four_concurrent_migrators_succeed(server: &TestServer) {
    for _ in 0..3 {
        let test = server.empty_database().await;
        all_end_well(&test, &[&["up"], &["up"], &["up"], &["up"]]);
        is_complete(&test).await;
    }
}

async fn concurrent_fresh_and_up_leave_the_whole_schema(server: &TestServer) {
    for _ in 0..3 {
        let test = server.database().await;
        all_end_well(&test, &[&["fresh", "--yes"], &["up"], &["refresh"]]);
        is_complete(&test).await;
    }
}

fn all_end_well(test: &TestDatabase, commands: &[&[&str]]) {
    let start = |arguments: &&[&str]| {
        let mut command = test.program("migration");
        command
            .args(*arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts")
    };
    let running: Vec<_> = commands.iter().map(start).collect();
    for (process, arguments) in running.into_iter().zip(commands) {
        let output = process.wait_with_output().expect("the process ends");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

async fn a_killed_migrator_is_taken_over(server: &TestServer) {
    for milliseconds in [2, 5, 10, 20, 40] {
        let test = server.empty_database().await;
        let mut killed = test.spawn("migration", &["up"]);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        // It may have finished.
        let _ = killed.kill();
        killed.wait().expect("the process ends");
        migrate(&test, &["up"]);
        is_complete(&test).await;
    }
}

/// CockroachDB commits a change before it is recorded.
async fn an_unrecorded_change_is_applied_again(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "DELETE FROM seaql_migrations").await;
    migrate(&test, &["up"]);
    is_complete(&test).await;
}

async fn invalid_rows_are_refused_by_the_schema(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    for id in [1, 2] {
        insert_account(&database, id, 10).await;
    }
    let uuid = "'00000000-0000-0000-0000-000000000001'";
    let transfer = |source: &str, target: &str, amount: &str| {
        format!(
            "INSERT INTO transfers (id, source_id, target_id, amount) VALUES ({uuid}, {source}, {target}, {amount})"
        )
    };
    for refused in [
        "UPDATE accounts SET balance = -1 WHERE id = 1".to_owned(),
        "UPDATE accounts SET opening_balance = -1 WHERE id = 1".to_owned(),
        // SQLite would store a huge REAL.
        "UPDATE accounts SET balance = 9223372036854775807 + balance WHERE id = 1".to_owned(),
        "UPDATE accounts SET balance = 'much' WHERE id = 1".to_owned(),
        "INSERT INTO accounts (id, balance, opening_balance) VALUES (1, 0, 0)".to_owned(),
        "INSERT INTO accounts (id, balance) VALUES (3, 0)".to_owned(),
        "DELETE FROM accounts WHERE id = 1 AND (SELECT count(*) FROM transfers) > 0".to_owned(),
        transfer("1", "2", "0"),
        transfer("1", "2", "-1"),
        transfer("1", "1", "1"),
        transfer("1", "3", "1"),
        transfer("3", "1", "1"),
        transfer("1", "NULL", "1"),
    ] {
        if refused.starts_with("DELETE") {
            insert_transfer(&database, 1, 2, 1).await.expect("two accounts");
        }
        let done = database.connection.execute_unprepared(&refused).await;
        assert!(done.is_err(), "{refused}");
    }
}

async fn a_schema_without_foreign_keys_takes_any_transfer(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    migration::run::<WithoutForeignKeys>(&database, Command::Up(None)).await.expect("migrated");
    insert_transfer(&database, 8, 9, 1).await.expect("nothing forbids it");
    assert_eq!(migration::pending(&database).await.expect("readable"), [""; 0]);
}

/// The driver would log a warning.
async fn a_slow_statement_is_not_logged(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    let hold = "BEGIN; SELECT pg_advisory_xact_lock(32481091258510955); SELECT pg_sleep(1.5); COMMIT";
    let holding = database.connection.execute_unprepared(hold);
    let migrating = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut up = test.program("migration");
        tokio::task::spawn_blocking(move || up.arg("up").output())
            .await
            .expect("no panic")
            .expect("the command runs")
    };
    let (held, output) = tokio::join!(holding, migrating);
    held.expect("the lock is held");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

async fn lines_in_a_pipe_have_no_colours(server: &TestServer) {
    let test = server.empty_database().await;
    let output = test.migration().args(["--verbose", "up"]).output().expect("the command runs");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && told.len() > 1000 && !told.contains(&0x1b), "{told:?}");
}
