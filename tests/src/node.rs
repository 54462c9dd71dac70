//! One node of CockroachDB as a child process: insecure, on free ports of 127.0.0.1, killed and started again on the store it has.
//!
//! What it leaves to others: whether it stands alone or with others, which its first arguments say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::database::{Address, Database, Options, connect};
use tempfile::TempDir;

use crate::StartError;
use crate::process::{Process, free_port};

/// A node; stopped, and its data removed, when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Node {
    // First: the process ends before its folder goes.
    process: Option<Process>,
    program: PathBuf,
    folder: TempDir,
    store: Store,
    port: u16,
    http: u16,
}

/// Where a node keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Disk,
}

impl Node {
    /// Has a folder and ports, and does not run.
    pub(crate) fn new(program: &Path, store: Store) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix("seabank-cockroach-").map_err(|e| failed(e.to_string()))?;
        let (port, http) = match (free_port(), free_port()) {
            (Ok(port), Ok(http)) => (port, http),
            (Err(error), _) | (_, Err(error)) => return Err(failed(error.to_string())),
        };
        Ok(Self { process: None, program: program.to_owned(), folder, store, port, http })
    }

    /// Starts its process, on the ports and the store it has.
    pub(crate) fn spawn(&mut self, how: &[&str]) -> Result<(), StartError> {
        self.process = None;
        let mut command = self.command();
        command
            .args(how)
            .args(["--insecure", "--logtostderr=WARNING"])
            .arg(match self.store {
                Store::Memory => "--store=type=mem,size=1GiB".to_owned(),
                Store::Disk => format!("--store={}", self.folder.path().join("store").display()),
            })
            // The default is every interface.
            .arg(format!("--listen-addr={}", self.sql()))
            .arg(format!("--http-addr={}", self.http()));
        let log = self.folder.path().join("log");
        // The last two of a cluster cannot drain, and data that is removed needs no last word.
        let process = Process::spawn(&mut command, &log, "KILL").map_err(|e| failed(e.to_string()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self) -> Result<Database, StartError> {
        let url = self.url("defaultdb");
        let Some(process) = &mut self.process else { return Err(failed("it does not run".to_owned())) };
        process.ready(&url).await.map_err(failed)
    }

    /// Whether a session can be had at once.
    pub(crate) async fn answers(&self) -> bool {
        let address = Address::parse(&self.url("defaultdb")).expect("the harness makes good URLs");
        let options = Options { connect_timeout: Duration::from_secs(1), ..Options::default() };
        connect(&address, &options).await.is_ok()
    }

    /// Whether its process was started and nobody here has ended it.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to drain and end, and waits until it has.
    pub(crate) async fn drain(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("TERM").await;
        }
    }

    /// What it is started from.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The program, to be told something else than to be this node.
    pub(crate) fn command(&self) -> Command {
        command(&self.program, self.folder.path())
    }

    /// Where it takes sessions, and speaks with other nodes.
    pub(crate) fn sql(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it says whether it is ready.
    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http))
    }

    /// Where a database is, asked of this node.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("cockroachdb://root@{}/{database}?sslmode=disable", self.sql())
    }
}

/// The program, at work in a folder, with nothing to report to its makers.
pub(crate) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("COCKROACH_SKIP_ENABLING_DIAGNOSTIC_REPORTING", "true")
        .env("COCKROACH_CRASH_REPORTS", "");
    command
}

pub(crate) fn failed(reason: String) -> StartError {
    StartError { server: "CockroachDB", reason }
}
