//! Unwritable output: no command panics, and unfinished work ends as after an interrupt.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use database::Server;
use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, scalar, tests};

use crate::books::everything;
use crate::files::{Folder, accounts};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        no_command_panics_on_unwritable_output on &[Server::Sqlite],
        a_truncated_answer_is_reported,
        a_load_without_a_reader_ends_with_whole_chunks,
        nothing_begins_unless_its_id_is_printed,
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unwritable {
    ReaderGone,
    DiskFull,
}

impl Unwritable {
    fn stream(self) -> Stdio {
        match self {
            Self::ReaderGone => std::io::pipe().expect("the pipe is created").1.into(),
            Self::DiskFull => File::options().write(true).open("/dev/full").expect("the file exists").into(),
        }
    }

    fn run(self, stream: &str, command: &mut Command) -> Output {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        match stream {
            "stdout" => command.stdout(self.stream()),
            _ => command.stderr(self.stream()),
        };
        command.spawn().expect("the process starts").wait_with_output().expect("the process ends")
    }
}

const CODES: [i32; 9] = [0, 1, 2, 3, 4, 5, 130, 141, 143];

const COMMANDS: [(&str, &[&str]); 27] = [
    ("seabank", &["demo"]),
    ("seabank", &["doctor"]),
    ("seabank", &["seed", "--count", "50", "--chunk", "10"]),
    ("seabank", &["seed", "--count", "50", "--chunk", "10", "--echo"]),
    ("seabank", &["points", "--count", "50", "--chunk", "10"]),
    ("seabank", &["transfer"]),
    ("seabank", &["transfer", "--count", "20", "--format", "json"]),
    ("seabank", &["import", "accounts.csv"]),
    ("seabank", &["import", "bad.csv", "--on-error", "skip", "--rejects", "/dev/null"]),
    ("seabank", &["export", "accounts"]),
    ("seabank", &["export", "transfers", "--output", "transfers.csv"]),
    ("seabank", &["workload", "--max-ops", "20", "--display-every", "1ms"]),
    ("seabank", &["accounts"]),
    ("seabank", &["accounts", "--format", "json", "--echo"]),
    ("seabank", &["history", "1"]),
    ("seabank", &["audit"]),
    ("seabank", &["migrate", "status"]),
    ("seabank", &["migrate", "up", "--format", "json"]),
    ("seabank", &["completions", "bash"]),
    ("seabank", &["init"]),
    ("seabank", &["--help"]),
    ("seabank", &[]),
    ("seabank", &["nonsense"]),
    ("migration", &["status"]),
    ("migration", &["up"]),
    ("migration", &["--version"]),
    ("migration", &["generate", "nothing", "--verbose"]),
];

async fn no_command_panics_on_unwritable_output(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    folder.write("accounts.csv", accounts(3));
    folder.write("bad.csv", "id,balance\nx,1\n4,40\n");
    assert!(
        test.seabank().args(["seed", "--count", "100"]).output().expect("the command runs").status.success()
    );
    for (program, arguments) in COMMANDS {
        for (stream, bad) in ["stdout", "stderr"]
            .into_iter()
            .flat_map(|it| [(it, Unwritable::ReaderGone), (it, Unwritable::DiskFull)])
        {
            let mut command = test.program(program);
            command.args(arguments).current_dir(folder.path("")).env("RUST_LOG", "info");
            // `generate` writes there.
            command.env("CARGO_MANIFEST_DIR", folder.path(""));
            let output = bad.run(stream, &mut command);
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let context =
                format!("{program} {arguments:?} with {stream} {bad:?}: {:?}: {said}", output.status);
            assert!(output.status.code().is_some_and(|code| CODES.contains(&code)), "{context}");
            assert!(!said.contains("panicked") && !said.contains("backtrace"), "{context}");
        }
    }
    let audit = test.seabank().args(["audit"]).output().expect("the command runs");
    assert!(audit.status.success(), "{audit:?}");
    let batches = "SELECT count(*) FROM batches WHERE rows NOT IN (1, 3, 10, 100)";
    assert_eq!(scalar(&test.connect().await, batches).await, 0, "chunks are whole");
}

fn code(test: &TestDatabase, stream: &str, bad: Unwritable, arguments: &[&str]) -> (Option<i32>, String) {
    let output = bad.run(stream, test.program("seabank").args(arguments));
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A closed pipe is not a failure, a full disk is.
async fn a_truncated_answer_is_reported(server: &TestServer) {
    let test = server.database().await;
    assert!(
        test.seabank().args(["seed", "--count", "10"]).output().expect("the command runs").status.success()
    );
    let full = "error: standard output cannot be written: No space left on device";
    for arguments in [&["audit"][..], &["accounts"], &["migrate", "status"], &["completions", "zsh"]] {
        assert_eq!(
            code(&test, "stdout", Unwritable::ReaderGone, arguments),
            (Some(0), String::new()),
            "{arguments:?}"
        );
        let (code, said) = code(&test, "stdout", Unwritable::DiskFull, arguments);
        assert!(
            code == Some(1) && said.starts_with(full) && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
        // They print nothing there.
        for bad in [Unwritable::ReaderGone, Unwritable::DiskFull] {
            assert_eq!(self::code(&test, "stderr", bad, arguments).0, Some(0), "{arguments:?}");
        }
    }
    // Checks and steps are printed one by one; the command stops at the first.
    for arguments in [["doctor"], ["demo"]] {
        assert_eq!(code(&test, "stdout", Unwritable::ReaderGone, &arguments), (Some(141), String::new()));
        let (code, said) = code(&test, "stdout", Unwritable::DiskFull, &arguments);
        assert!(code == Some(1) && said.contains(full) && said.matches("error: ").count() == 1, "{said}");
    }
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 10);
}

async fn a_load_without_a_reader_ends_with_whole_chunks(server: &TestServer) {
    let test = server.database().await;
    let mut seeding = test.program("seabank");
    seeding.args(["seed", "--count", "20000", "--chunk", "10", "--rng-seed", "1", "--echo"]);
    let mut seeding =
        seeding.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the process starts");
    let mut errors = BufReader::new(seeding.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !(line.contains("INSERT INTO") && line.contains("accounts")) {
        line.clear();
        assert!(errors.read_line(&mut line).expect("readable") > 0, "the process continues");
    }
    drop(errors);
    let output = seeding.wait_with_output().expect("the process ends");
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    let database = test.connect().await;
    let accounts = scalar(&database, "SELECT count(*) FROM accounts").await;
    assert!((10..20_000).contains(&accounts) && accounts % 10 == 0, "{accounts}");
}

/// Without the printed id of a run or transfer, an unknown outcome could not be settled.
async fn nothing_begins_unless_its_id_is_printed(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let file = folder.write("accounts.csv", accounts(3));
    let file = file.to_str().expect("a path");
    assert!(
        test.seabank().args(["seed", "--count", "10"]).output().expect("the command runs").status.success()
    );
    let database = test.connect().await;
    let before = everything(&database).await;
    for arguments in [
        &["seed"][..],
        &["points"],
        &["import", file],
        &["transfer"],
        &["transfer", "--count", "3"],
        &["workload", "--max-ops", "3"],
    ] {
        for (bad, expected) in [(Unwritable::ReaderGone, 141), (Unwritable::DiskFull, 1)] {
            let arguments = [arguments, &["--format", "json"]].concat();
            let (code, answer) = code(&test, "stderr", bad, &arguments);
            let answer: Value =
                serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{arguments:?}: {answer}"));
            assert_eq!(
                (code, answer["code"].as_i64()),
                (Some(expected), Some(i64::from(expected))),
                "{answer}"
            );
        }
    }
    assert!(everything(&database).await == before);
    assert_eq!(scalar(&database, "SELECT count(*) FROM points").await, 0);
}
