//! One insecure CockroachDB node as a child process, on free ports of 127.0.0.1, alone or in a
//! cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::database::{Address, Database, Options, connect};
use tempfile::TempDir;

use crate::StartError;
use crate::process::{Process, free_port};

/// A node. Dropping it stops the process and deletes its data.
#[derive(Debug)]
pub(crate) struct Node {
    // First field: the process ends before its folder is deleted.
    process: Option<Process>,
    program: PathBuf,
    folder: TempDir,
    store: Store,
    port: u16,
    http: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Disk,
}

impl Node {
    /// Reserves a folder and ports; does not start the process.
    pub(crate) fn new(program: &Path, store: Store) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix("seabank-cockroach-").map_err(|e| failed(e.to_string()))?;
        let (port, http) = match (free_port(), free_port()) {
            (Ok(port), Ok(http)) => (port, http),
            (Err(error), _) | (_, Err(error)) => return Err(failed(error.to_string())),
        };
        Ok(Self { process: None, program: program.to_owned(), folder, store, port, http })
    }

    /// Starts the process on its ports and store.
    pub(crate) fn spawn(
        &mut self,
        how: &[&str],
        environment: Option<(&str, &str)>,
    ) -> Result<(), StartError> {
        self.process = None;
        let mut command = self.command();
        command
            .envs(environment)
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
        // Killed when dropped: the last two nodes of a cluster cannot drain.
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

    /// Whether it accepts a session now.
    pub(crate) async fn answers(&self) -> bool {
        let address = Address::parse(&self.url("defaultdb")).expect("the harness makes good URLs");
        let options = Options { connect_timeout: Duration::from_secs(1), ..Options::default() };
        connect(&address, &options).await.is_ok()
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Drains it, and waits until it has stopped.
    pub(crate) async fn drain(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("TERM").await;
        }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The program, for another subcommand.
    pub(crate) fn command(&self) -> Command {
        command(&self.program, self.folder.path())
    }

    /// The address for SQL and other nodes.
    pub(crate) fn sql(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The address of the health endpoint.
    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http))
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("cockroachdb://root@{}/{database}?sslmode=disable", self.sql())
    }
}

/// The program in a folder, with telemetry off.
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
