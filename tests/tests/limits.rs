//! The limit of a test: a run whose tests wait for ever is played, and names them.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use database::Server;
use libtest_mimic::{Arguments, Trial};
use tests::{Test, TestServer, tests};

/// Set where this program is to be the run.
const PLAYED: &str = "SEABANK_PLAYED_LIMITS";

/// Far longer than the played run takes, and shorter than the programs that it leaves running.
const PLAY_MAX: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if std::env::var_os(PLAYED).is_some() {
        return tests::run_on(&[Server::Sqlite], &[("played", played())]);
    }
    let test = Trial::test("a_test_that_exceeds_its_limit_fails_by_its_name_and_the_others_go_on", || {
        a_test_that_exceeds_its_limit_fails_by_its_name_and_the_others_go_on();
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

fn played() -> Vec<Test> {
    let mut played = tests![alone: blocks_for_ever within 1 s];
    played.extend(tests![
        ends_before,
        waits_for_ever within 1 s,
        blocks_on_a_program within 1 s,
        starts_programs_again_and_again within 1 s,
        panics,
        ends_after,
    ]);
    played
}

async fn ends_before(_: &TestServer) {}

async fn waits_for_ever(_: &TestServer) {
    std::future::pending().await
}

async fn blocks_on_a_program(_: &TestServer) {
    let mut program = Command::new("sleep");
    program.arg("120").status().expect("it can be started");
}

async fn starts_programs_again_and_again(_: &TestServer) {
    for _ in 0..5 {
        Command::new("sleep").arg("120").status().expect("it can be started");
    }
}

async fn blocks_for_ever(_: &TestServer) {
    loop {
        std::thread::park();
    }
}

async fn panics(_: &TestServer) {
    panic!("a panic of the body");
}

async fn ends_after(_: &TestServer) {}

fn a_test_that_exceeds_its_limit_fails_by_its_name_and_the_others_go_on() {
    // Every run builds the programs first, which takes minutes where nothing is built yet.
    drop(tests::command("seabank"));
    let started = Instant::now();
    let mut run = assert_cmd::Command::new(std::env::current_exe().expect("it knows its own program"));
    run.env(PLAYED, "1").env_remove("TEST_REQUIRE").timeout(PLAY_MAX);
    let output = run.arg("--test-threads=2").output().expect("it runs");
    // Its output ends with the last program that has it.
    assert!(started.elapsed() < PLAY_MAX, "a program was left running: {output:?}");
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for (name, reason) in [
        ("waits_for_ever", "not ended after 1s, its limit"),
        ("blocks_on_a_program", "not ended after 1s, its limit"),
        ("starts_programs_again_and_again", "not ended after 1s, its limit"),
        ("blocks_for_ever", "which is left behind"),
        ("panics", "a panic of the body"),
    ] {
        let failure = text.split_once(&format!("---- sqlite::played::{name} ----"));
        let line = failure.and_then(|(_, rest)| rest.lines().find(|line| !line.is_empty()));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {text}");
    }
    assert!(text.contains("2 passed; 5 failed"), "{text}");
}
