//! A CockroachDB server: one node in memory, started for the run, or one that is there already.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::{Address, Options, connect};
use tempfile::TempDir;
use url::Url;

use crate::StartError;
use crate::process::{Process, free_port, in_path};

/// A server; stopped when it goes out of scope, if it was started here.
#[derive(Debug)]
pub struct Cockroach {
    // First: the process ends before its folder goes.
    process: Option<Process>,
    _folder: Option<TempDir>,
    url: Url,
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
        let folder = TempDir::with_prefix("seabank-cockroach-").map_err(|e| failed(e.to_string()))?;
        let (port, http) = match (free_port(), free_port()) {
            (Ok(port), Ok(http)) => (port, http),
            (Err(error), _) | (_, Err(error)) => return Err(failed(error.to_string())),
        };
        let mut command = Command::new(program);
        command
            .args(["start-single-node", "--insecure", "--store=type=mem,size=1GiB", "--logtostderr=WARNING"])
            // The default is every interface.
            .arg(format!("--listen-addr=127.0.0.1:{port}"))
            .arg(format!("--http-addr=127.0.0.1:{http}"))
            .current_dir(folder.path())
            .env("COCKROACH_SKIP_ENABLING_DIAGNOSTIC_REPORTING", "true")
            .env("COCKROACH_CRASH_REPORTS", "");
        let log = folder.path().join("log");
        let mut process = Process::spawn(&mut command, &log, "KILL").map_err(|e| failed(e.to_string()))?;
        let url = format!("cockroachdb://root@127.0.0.1:{port}/defaultdb?sslmode=disable");
        process.ready(&url).await.map_err(failed)?;
        let url = Url::parse(&url).map_err(|e| failed(e.to_string()))?;
        Ok(Self { process: Some(process), _folder: Some(folder), url })
    }

    /// A server that is there already, by the URL of one of its databases.
    async fn existing(url: &str) -> Result<Self, StartError> {
        let address = Address::parse(url).map_err(|error| failed(format!("TEST_COCKROACH_URL: {error}")))?;
        connect(&address, &Options::default()).await.map_err(|error| failed(error.to_string()))?;
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        Ok(Self { process: None, _folder: None, url })
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
        self.process.is_some()
    }
}

fn failed(reason: String) -> StartError {
    StartError { server: "CockroachDB", reason }
}
