//! Signals, pipes, `.env`, command lines to paste, and wrong input.

mod command_lines;
mod env_file;
mod signals;
mod spinner;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use database::{Options, Server};
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::export::What;
use tests::{Test, TestServer, scalar, tests};
use tokio_util::sync::CancellationToken;

use crate::background::paste;
use crate::books::{execute, insert_account, seed};
use crate::files::{Folder, accounts};
use crate::wrong_input::fails;
use command_lines::{
    a_command_line_can_be_pasted, a_password_is_left_out_of_a_command_line, the_program_is_called_as_it_was,
};
use env_file::{a_bad_env_file_is_named_with_its_line, help_and_the_version_come_before_a_bad_env_file};
use signals::{
    a_pipe_that_nobody_opens_is_left_at_the_first_signal, a_second_signal_leaves_no_unfinished_file,
    sigterm_ends_in_143_and_ctrl_c_in_130,
};
use spinner::{
    a_quick_command_shows_no_spinner, a_spinner_turns_while_a_command_connects,
    a_spinner_turns_while_an_audit_waits, lines_are_whole_above_a_spinner,
};

const SQLITE: &[Server] = &[Server::Sqlite];
const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        sigterm_ends_in_143_and_ctrl_c_in_130,
        a_pipe_that_nobody_opens_is_left_at_the_first_signal on SQLITE,
        a_second_signal_leaves_no_unfinished_file on &[Server::Postgres],
        a_replaced_file_keeps_its_mode on SQLITE,
        a_bad_env_file_is_named_with_its_line on SQLITE,
        help_and_the_version_come_before_a_bad_env_file on SQLITE,
        a_command_line_can_be_pasted,
        a_password_is_left_out_of_a_command_line on &[Server::Postgres],
        the_program_is_called_as_it_was on SQLITE,
        seabank_migrates_as_the_migrator_does,
        what_was_meant_is_told on SQLITE,
        a_time_or_rate_that_cannot_be_is_2 on SQLITE,
        a_file_that_cannot_be_made_is_2_by_its_own_name on SQLITE,
        one_is_not_told_as_many on SQLITE,
        a_reader_that_pauses_keeps_its_snapshot on WIRE,
        a_spinner_turns_while_a_command_connects on SQLITE,
        a_spinner_turns_while_an_audit_waits on &[Server::Postgres],
        lines_are_whole_above_a_spinner,
        a_quick_command_shows_no_spinner on SQLITE,
    ]
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

async fn a_replaced_file_keeps_its_mode(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    insert_account(&test.connect().await, 1, 10).await;
    insert_account(&test.connect().await, 2, 10).await;
    let usual = mode(&folder.write("usual", "x"));
    let (csv, page) = (folder.path("accounts.csv"), folder.path("report.html"));
    let write = || {
        test.seabank().args(["export", "accounts", "--output"]).arg(&csv).assert().success();
        test.seabank().args(["workload", "--max-ops", "1", "--report"]).arg(&page).assert().success();
    };
    write();
    for path in [&csv, &page] {
        assert_eq!(mode(path), usual, "{path:?} is as any new file");
        fs::set_permissions(path, Permissions::from_mode(0o640)).expect("it can be set");
    }
    write();
    for path in [&csv, &page] {
        assert_eq!(mode(path), 0o640, "{path:?}");
        assert!(fs::metadata(path).expect("it is there").len() > 20);
    }
}

/// A program in a folder, without environment variables.
fn bare(program: &str, folder: &Path) -> Command {
    let mut command = tests::command(program);
    command.current_dir(folder);
    command
}

async fn seabank_migrates_as_the_migrator_does(server: &TestServer) {
    let (one, other) = (server.empty_database().await, server.empty_database().await);
    for arguments in [
        &["status"][..],
        &["down"],
        &["up", "-n", "2"],
        &["up", "--num", "0"],
        &["status"],
        &["up"],
        &["up"],
        &["down", "-n", "3"],
        &["refresh"],
        &["fresh"],
        &["fresh", "--yes"],
        &["reset"],
        &["up", "--database-schema", "elsewhere"],
        &["status"],
        &["reset"],
    ] {
        let migrator =
            one.program("migration").args(arguments).stdin(Stdio::null()).output().expect("it runs");
        let seabank = other.program("seabank").arg("migrate").args(arguments).stdin(Stdio::null()).output();
        let seabank = seabank.expect("it runs");
        let same = |output: &Output| {
            let text = [&output.stdout[..], &output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&text).into_owned())
        };
        assert_eq!(same(&migrator), same(&seabank), "{arguments:?}");
    }
    let output =
        other.program("seabank").args(["migrate", "up", "--format", "json"]).output().expect("it runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(answer["applied"].as_array().expect("a list").len() == 6 && output.status.success(), "{answer}");
    other.seabank().arg("seed").assert().success();
}

/// Numbers like `1k`, and values without a flag.
async fn what_was_meant_is_told(server: &TestServer) {
    let test = server.database().await;
    for (arguments, words) in [
        (&["seed", "--count", "1_000"][..], "write 1000"),
        (&["seed", "--count", "1k"], "write 1000"),
        (&["points", "--count", "1,000"], "write 1000"),
        (&["transfer", "--from", "1", "--to", "2", "--amount", "2M"], "write 2000000"),
        (&["history", "1_0"], "write 10"),
        (&["workload", "--count", "10K"], "write 10000"),
        (&["audit", "--pool", "1_0"], "write 10"),
        (&["seed", "100"], "--count 100"),
        (&["points", "5k"], "--count 5k"),
        (&["export", "accounts", "out.csv"], "--output out.csv"),
        (&["workload", "60s"], "--duration 60s"),
        (&["audit", "10s"], "--as-of 10s"),
        (&["migrate", "up", "3"], "--num 3"),
        (&["history", "5", "10"], "--limit 10"),
        (&["pay", "a.csv", "b.csv"], "unexpected argument 'b.csv' found (see --help)"),
        (&["audit", "sqlite://bank.db"], "--database-url sqlite://bank.db"),
        (&["import", "x.csv", "--on-error", "skip", "--rejects", "-"], "--rejects the name of a file"),
        (&["workload", "--report", "-"], "--report the name of a file"),
        (&["workload", "--histogram", "-"], "--histogram the name of a file"),
    ] {
        let folder = Folder::new();
        folder.write("x.csv", accounts(1));
        let output = test.program("seabank").args(arguments).current_dir(folder.path("")).output();
        let output = output.expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        assert!(output.status.code() == Some(2) && last.contains(words), "{arguments:?}: {errors}");
        assert_eq!(fs::read_dir(folder.path("")).expect("it is there").count(), 1, "{arguments:?}");
    }
    let output = test.migration().args(["down", "2"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--num 2"), "{output:?}");
}

async fn a_time_or_rate_that_cannot_be_is_2(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    for (flag, value) in [
        ("--rate", "1e-300"),
        ("--rate", "1e300"),
        ("--rate", "NaN"),
        ("--ramp", "1000000years"),
        ("--ramp", "18446744073709551615s"),
        ("--duration", "1000000years"),
        ("--audit-every", "1000000years"),
        ("--display-every", "1000000years"),
        ("--zipf", "1e300"),
        ("--zipf", "1e-300"),
        ("--retry-for", "1000000years"),
        ("--retry-for", "25h"),
    ] {
        fails(&test, &["workload", "--max-ops", "1", flag, value], 2, &[flag, "give a "]);
    }
    // The most and the least that can be.
    for more in
        [&["--ramp", "1s", "--rate", "1000000"][..], &["--zipf", "10"], &["--ramp", "366days", "--rate", "1"]]
    {
        test.seabank().args(["workload", "--duration", "200ms"]).args(more).assert().success();
    }
}

async fn a_file_that_cannot_be_made_is_2_by_its_own_name(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    let file = folder.write("accounts.csv", accounts(3));
    let below = format!("{}/x", file.display());
    for (arguments, name) in [
        (&["workload", "--report"][..], "/nonexistent/x.html"),
        (&["workload", "--histogram"], "/nonexistent/x.log"),
        (&["export", "accounts", "--output"], "/nonexistent/x.csv"),
        (&["export", "accounts", "--output"], &below),
        (
            &["import", file.to_str().expect("a path"), "--on-error", "skip", "--rejects"],
            "/nonexistent/x.csv",
        ),
    ] {
        let output = test.seabank().args(arguments).arg(name).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && errors.contains(name), "{arguments:?}: {errors}");
        assert!(!errors.contains(".tmp"), "{errors}");
    }
    let output =
        test.seabank().arg("import").arg(&file).env("TMPDIR", "/nonexistent").output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2), "{errors}");
    assert!(errors.contains("/nonexistent: No such file") && errors.contains("TMPDIR"), "{errors}");
    assert!(!errors.contains(".tmp"), "{errors}");
}

async fn one_is_not_told_as_many(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let file = folder.write("accounts.csv", accounts(1));
    let file = file.to_str().expect("a path");
    let (output, rejects) = (folder.path("out.csv"), folder.path("rejects.csv"));
    let (output, rejects) = (output.to_str().expect("a path"), rejects.to_str().expect("a path"));
    let bad = folder.write("bad.csv", "id,balance\nx,1\n");
    let bad = bad.to_str().expect("a path");
    for (arguments, words) in [
        (&["import", file][..], "Imported 1 row in"),
        (&["import", file], "1 row was there already"),
        (&["import", bad, "--on-error", "skip", "--rejects", rejects], "1 row was left out"),
        (&["export", "accounts", "--output", output], "Exported 1 row in"),
        (&["seed", "--count", "1"], "Added 1 account in"),
        (&["points", "--count", "1"], "Added 1 point in"),
        (&["workload", "--max-ops", "1"], "1 transfer in"),
        (&["audit"], "2 accounts, 1 transfer."),
        (
            &["transfer", "--count", "1", "--run", "00000000-0000-0000-0000-000000000001"],
            "1 of 1 transfer in",
        ),
        (&["accounts", "--limit", "1"], "1 of 2 accounts"),
    ] {
        let output = test.seabank().args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(words), "{arguments:?}: {output:?}");
    }
}

/// Servers end idle transactions.
async fn a_reader_that_pauses_keeps_its_snapshot(server: &TestServer) {
    let test = server.database().await;
    let one = Options { max_connections: 1, ..Options::default() };
    let database = test.connect_with(&one).await;
    let bank = Bank::new(&database, Policy::default());
    seed(&bank, 12_000, 5000).await.expect("there is room");
    execute(&database, "SET idle_in_transaction_session_timeout = 2500").await;

    struct Pausing(u32, u64);
    impl Write for Pausing {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            if self.0 < 2 {
                std::thread::sleep(Duration::from_secs(4));
            }
            self.0 += 1;
            self.1 += text.iter().filter(|byte| **byte == b'\n').count() as u64;
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let exported = bank.export(What::Accounts, Pausing(0, 0), &CancellationToken::new(), |_| {}).await;
    let (rows, written) = exported.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((rows, written.1), (12_000, 12_001));
}
