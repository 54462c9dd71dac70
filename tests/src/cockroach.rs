//! A CockroachDB server: one node in memory, started for the run; one on disk, to be killed and started again; or one that
//! is there already.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::{Address, Database, Options, connect};
use tempfile::TempDir;
use url::Url;

use crate::StartError;
use crate::process::{Process, free_port, in_path};

/// A server; stopped when it goes out of scope, if it was started here.
#[derive(Debug)]
pub struct Cockroach {
    // First: the process ends before its folder goes.
    process: Option<Process>,
    node: Option<Node>,
    url: Url,
}

/// How a node of our own is started, and started again.
#[derive(Debug)]
struct Node {
    program: PathBuf,
    folder: TempDir,
    store: Store,
    port: u16,
    http: u16,
}

/// Where a node keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Memory,
    Disk,
}

/// Where a server may come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Program(PathBuf),
    Url(String),
}

impl Cockroach {
    /// `TEST_COCKROACH_URL`, then `COCKROACH_BINARY`, then PATH.
    pub(crate) fn find() -> Option<Source> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        variable("TEST_COCKROACH_URL")
            .map(Source::Url)
            .or_else(|| variable("COCKROACH_BINARY").map(|path| Source::Program(path.into())))
            .or_else(|| in_path("cockroach").map(Source::Program))
    }

    /// The program, where that is where servers come from.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        match Self::find()? {
            Source::Program(program) => Some(program),
            Source::Url(_) => None,
        }
    }

    pub(crate) async fn from(source: &Source) -> Result<Self, StartError> {
        match source {
            Source::Program(program) => Self::start(program).await,
            Source::Url(url) => Self::existing(url).await,
        }
    }

    /// Starts one node, insecure, in memory, on free ports of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// What the operating system or the server's output says.
    pub async fn start(program: &Path) -> Result<Self, StartError> {
        Self::start_node(program, Store::Memory).await
    }

    /// Starts one node, insecure, that keeps its data on disk: it can be killed and started again.
    ///
    /// # Errors
    ///
    /// What the operating system or the server's output says.
    pub async fn start_on_disk(program: &Path) -> Result<Self, StartError> {
        Self::start_node(program, Store::Disk).await
    }

    async fn start_node(program: &Path, store: Store) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix("seabank-cockroach-").map_err(|e| failed(e.to_string()))?;
        let (port, http) = match (free_port(), free_port()) {
            (Ok(port), Ok(http)) => (port, http),
            (Err(error), _) | (_, Err(error)) => return Err(failed(error.to_string())),
        };
        let url = format!("cockroachdb://root@127.0.0.1:{port}/defaultdb?sslmode=disable");
        let url = Url::parse(&url).map_err(|e| failed(e.to_string()))?;
        let node = Node { program: program.to_owned(), folder, store, port, http };
        let mut server = Self { process: None, node: Some(node), url };
        server.restart().await?;
        Ok(server)
    }

    /// `kill -9` of a node that was started here.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts a node that was started here again, on the ports and the store it had; waits until it answers.
    ///
    /// # Errors
    ///
    /// What the operating system or the server's output says.
    pub async fn restart(&mut self) -> Result<Database, StartError> {
        let Some(node) = &self.node else { return Err(failed("it was not started here".to_owned())) };
        self.process = None;
        let log = node.folder.path().join("log");
        let mut process =
            Process::spawn(&mut node.command(), &log, "KILL").map_err(|e| failed(e.to_string()))?;
        let database = process.ready(self.url.as_str()).await.map_err(failed)?;
        self.process = Some(process);
        Ok(database)
    }

    /// A server that is there already, by the URL of one of its databases.
    async fn existing(url: &str) -> Result<Self, StartError> {
        let address = Address::parse(url).map_err(|error| failed(format!("TEST_COCKROACH_URL: {error}")))?;
        connect(&address, &Options::default()).await.map_err(|error| failed(error.to_string()))?;
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        Ok(Self { process: None, node: None, url })
    }

    /// Where a database of this server is; `None` for the one of its own that it came with.
    #[must_use]
    pub fn url(&self, database: Option<&str>) -> String {
        let mut url = self.url.clone();
        if let Some(database) = database {
            url.set_path(database);
        }
        url.into()
    }

    /// Whether it ends with the run, and all its databases with it.
    #[must_use]
    pub fn is_throw_away(&self) -> bool {
        self.node.is_some()
    }
}

impl Node {
    fn command(&self) -> Command {
        let mut command = command(&self.program, self.folder.path());
        command
            .args(["start-single-node", "--insecure", "--logtostderr=WARNING"])
            .arg(match self.store {
                Store::Memory => "--store=type=mem,size=1GiB".to_owned(),
                Store::Disk => format!("--store={}", self.folder.path().join("store").display()),
            })
            // The default is every interface.
            .arg(format!("--listen-addr=127.0.0.1:{}", self.port))
            .arg(format!("--http-addr=127.0.0.1:{}", self.http));
        command
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
