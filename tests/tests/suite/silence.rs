//! Silent links: every command of both programs ends, and ctrl-C ends it at once.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use database::Server;
use tests::{Fault, Proxy, Test, TestDatabase, TestServer, command, tests};

use crate::books::insert_account;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        every_command_ends_on_a_silent_link within 900 s on WIRE,
        ctrl_c_ends_every_command_on_a_silent_link within 600 s on WIRE,
        a_silent_audit_does_not_delay_a_workload within 300 s on WIRE,
        a_long_statement_is_waited_for within 300 s on &[Server::Postgres],
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

const COMMANDS: [(&str, &[&str]); 20] = [
    ("seabank", &["init", "--no-password", "--database", "silent", "--user", "silent"]),
    ("seabank", &["doctor"]),
    ("seabank", &["demo"]),
    ("seabank", &["seed", "--count", "20", "--chunk", "2"]),
    ("seabank", &["points", "--count", "20", "--chunk", "2"]),
    ("seabank", &["transfer"]),
    ("seabank", &["transfer", "--count", "20", "--concurrency", "2"]),
    ("seabank", &["import", "-"]),
    ("seabank", &["export", "accounts"]),
    ("seabank", &["workload", "--duration", "2s"]),
    ("seabank", &["accounts"]),
    ("seabank", &["history", "1"]),
    ("seabank", &["audit"]),
    ("migration", &["up"]),
    ("migration", &["status"]),
    ("migration", &["down"]),
    ("migration", &["fresh", "--yes"]),
    ("migration", &["refresh"]),
    ("migration", &["reset"]),
    ("migration", &["up", "-n", "1"]),
];

const END_MAX: Duration = Duration::from_secs(100);

/// One second, plus the delays of a busy machine.
const INTERRUPT_MAX: Duration = Duration::from_secs(3);

async fn bank(server: &TestServer) -> TestDatabase {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=20 {
        insert_account(&database, id, 1000).await;
    }
    test
}

struct Silenced {
    what: String,
    child: Child,
    started: Instant,
    asked: Arc<AtomicU64>,
    after: u64,
    _proxy: Proxy,
    _test: Option<TestDatabase>,
}

impl Silenced {
    async fn start(
        server: &TestServer,
        shared: &TestDatabase,
        program: &str,
        arguments: &[&str],
        after: u64,
    ) -> Self {
        let own = if program == "migration" { Some(server.database().await) } else { None };
        let test = own.as_ref().unwrap_or(shared);
        let proxy = test.proxy().await;
        let asked = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&asked);
        proxy.arm(move |_| {
            (counting.fetch_add(1, Ordering::Relaxed) >= after).then_some(Fault::Silent { delivered: false })
        });
        let mut command: Command = command(program);
        command.args(arguments).env("DATABASE_URL", proxy.url(test.url()));
        if program == "seabank" {
            command.args(["--retry-for", "5"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the process starts");
        let what = format!("{program} {arguments:?} after {after}");
        Self { what, child, started: Instant::now(), asked, after, _proxy: proxy, _test: own }
    }

    async fn end(&mut self, from: Instant, max: Duration) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is polled") {
                return status;
            }
            assert!(from.elapsed() < max, "{} goes on after {max:?}", self.what);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it waits for a lost answer.
    async fn hangs(&mut self) -> bool {
        while self.asked.load(Ordering::Relaxed) <= self.after {
            if self.child.try_wait().expect("the process is polled").is_some() {
                return false;
            }
            assert!(self.started.elapsed() < END_MAX, "{}", self.what);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.child.try_wait().expect("the process is polled").is_none()
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn every_command_ends_on_a_silent_link(server: &TestServer) {
    let test = bank(server).await;
    for after in [0, 5, 9, 14] {
        let mut all = Vec::new();
        for (program, arguments) in COMMANDS {
            all.push(Silenced::start(server, &test, program, arguments, after).await);
        }
        for silenced in &mut all {
            let asked = silenced.started;
            let status = silenced.end(asked, END_MAX).await;
            if after == 0 {
                assert_eq!(status.code(), Some(5), "{}", silenced.what);
            }
        }
    }
}

async fn ctrl_c_ends_every_command_on_a_silent_link(server: &TestServer) {
    let test = bank(server).await;
    for after in [0, 6, 12] {
        for (program, arguments) in COMMANDS {
            let mut silenced = Silenced::start(server, &test, program, arguments, after).await;
            if !silenced.hangs().await {
                continue;
            }
            let kill = format!("kill -INT {}", silenced.child.id());
            Command::new("sh").args(["-c", &kill]).status().expect("the shell runs");
            let status = silenced.end(Instant::now(), INTERRUPT_MAX).await;
            // A completed migration does not wait for its session to close.
            let is_done = program == "migration" && status.success();
            assert!(is_done || matches!(status.code(), Some(130 | 4)), "{}: {status}", silenced.what);
        }
    }
}

async fn a_silent_audit_does_not_delay_a_workload(server: &TestServer) {
    let test = bank(server).await;
    let proxy = test.proxy().await;
    proxy.arm(|request| request.text.contains("opening_high").then_some(Fault::Silent { delivered: false }));
    for interrupted in [false, true] {
        let mut command = command("seabank");
        command.args(["workload", "--duration", "3s", "--retry-for", "5", "--format", "json"]);
        command.env("DATABASE_URL", proxy.url(test.url())).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the process starts");
        let started = Instant::now();
        if interrupted {
            tokio::time::sleep(Duration::from_millis(4500)).await;
            let kill = format!("kill -INT {}", child.id());
            Command::new("sh").args(["-c", &kill]).status().expect("the shell runs");
        }
        let from = Instant::now();
        let max = if interrupted { INTERRUPT_MAX } else { END_MAX };
        while child.try_wait().expect("the process is polled").is_none() {
            assert!(from.elapsed() < max, "{interrupted}: it goes on after {:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let output = child.wait_with_output().expect("the process ends");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the totals are told");
        assert!(answer["transfers"].as_u64().expect("a count") > 0, "{answer}");
        assert!(answer["audit"].is_null(), "{answer}");
        assert!(!output.status.success(), "{answer}");
    }
}

/// Waited for while the server reports that the statement runs.
async fn a_long_statement_is_waited_for(server: &TestServer) {
    let test = bank(server).await;
    let database = test.connect_for_analysis().await;
    let watched = database::Watched::default();
    let work = async {
        watched.note(&database.connection, database.server).await?;
        crate::books::execute(&database, "SELECT pg_sleep(25)").await;
        Ok::<_, sea_orm::DbErr>(())
    };
    database.watch(&watched, work).await.expect("the statement continues").expect("the statement ends");
    let started = Instant::now();
    let silent = async {
        watched.note(&database.connection, database.server).await.expect("readable");
        std::future::pending::<()>().await;
    };
    database.watch(&watched, silent).await.expect_err("given up");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}
