//! Runs `seabank` in the background, with output to files so that a kill loses nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tests::TestDatabase;
use uuid::Uuid;

const WAIT_MAX: Duration = Duration::from_secs(90);

/// The log line of an applied transfer.
const APPLIED: &str = "seabank::bank::transfer: applied id=";

pub(crate) struct Background {
    child: Child,
    folder: TempDir,
    /// Bytes of standard error that `newly_applied` has read.
    read: u64,
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) answer: Value,
    pub(crate) errors: String,
    pub(crate) applied: BTreeSet<Uuid>,
}

impl Background {
    /// Every applied transfer is logged at once.
    pub(crate) fn start(test: &TestDatabase, arguments: &[&str]) -> Self {
        Self::start_with(test, arguments, |_| {})
    }

    pub(crate) fn start_with(
        test: &TestDatabase,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let folder = TempDir::with_prefix("seabank-told-").expect("the folder is created");
        let file = |name| File::create(folder.path().join(name)).expect("the file is created");
        let mut command = test.program("seabank");
        command.args(arguments).args(["--format", "json"]);
        command.env("RUST_LOG", "error,seabank::bank::transfer=info").env("NO_COLOR", "1");
        command.stdout(file("out")).stderr(file("errors"));
        prepare(&mut command);
        let child = command.spawn().expect("the process starts");
        Self { child, folder, read: 0 }
    }

    pub(crate) fn applied(&self) -> BTreeSet<Uuid> {
        applied_in(&self.text("errors"))
    }

    /// Transfers applied since the last call.
    pub(crate) fn newly_applied(&mut self) -> usize {
        let file = File::open(self.folder.path().join("errors")).expect("the file exists");
        let length = file.metadata().expect("the file exists").len();
        let mut new = vec![0; (length - self.read) as usize];
        file.read_exact_at(&mut new, self.read).expect("the file only grows");
        // The rest of an incomplete line is read next time.
        new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.read += new.len() as u64;
        applied_in(&String::from_utf8_lossy(&new)).len()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is polled").is_some()
    }

    /// Waits for this many transfers, or the end.
    pub(crate) async fn wait_for_applied(&mut self, count: usize) {
        let started = Instant::now();
        while self.applied().len() < count && !self.has_ended() {
            assert!(started.elapsed() < WAIT_MAX, "not {count} after {WAIT_MAX:?}: {}", self.text("errors"));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGKILL. Panics unless it runs.
    pub(crate) fn kill(mut self) -> BTreeSet<Uuid> {
        assert!(!self.has_ended(), "it ended before it was killed: {}", self.text("errors"));
        self.child.kill().expect("the command runs");
        self.child.wait().expect("the process ends");
        self.applied()
    }

    pub(crate) fn said(&self) -> String {
        let text = self.text("errors");
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn interrupt(&self) {
        let kill = format!("kill -INT {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("the shell runs");
        assert!(status.success(), "{kill}: it has ended");
    }

    pub(crate) async fn end(mut self) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the process is polled") {
                break status;
            }
            assert!(started.elapsed() < WAIT_MAX, "it goes on after {WAIT_MAX:?}: {}", self.text("errors"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let (out, errors) = (self.text("out"), self.text("errors"));
        let answer = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{errors}"));
        Finished { code: status.code(), answer, applied: applied_in(&errors), errors }
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.answer[key].as_u64().unwrap_or_else(|| panic!("{key} in {}", self.answer))
    }

    pub(crate) fn failure(&self) -> &str {
        let line = self.errors.lines().last().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("no failure: {}", self.errors))
    }
}

/// Runs the command in backquotes after `words`.
pub(crate) fn follow(test: &TestDatabase, line: &str, words: &str) -> Output {
    let (_, rest) = line.split_once(words).unwrap_or_else(|| panic!("{words} in {line}"));
    let command = rest.trim_start().strip_prefix('`').and_then(|rest| rest.split('`').next());
    let command = command.unwrap_or_else(|| panic!("a command after {words} in {line}"));
    assert!(command.contains("seabank "), "{command}");
    paste(test, command).output().expect("the command runs")
}

pub(crate) fn paste(test: &TestDatabase, command: &str) -> Command {
    let program = test.program("seabank");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(std::env::temp_dir());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Complete lines only.
fn applied_in(errors: &str) -> BTreeSet<Uuid> {
    let lines = errors.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let ids = lines.filter_map(|line| line.split_once(APPLIED)?.1.split_whitespace().next());
    ids.map(|id| id.parse().expect("an id")).collect()
}
