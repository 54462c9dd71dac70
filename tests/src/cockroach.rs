//! A CockroachDB server: one node in memory, started for the run; one on disk, to be killed and started again; or one that
//! is there already.

use std::path::{Path, PathBuf};

use ::database::{Database, Options};
use url::Url;

use crate::StartError;
use crate::node::{Node, Store, failed};
use crate::patience::connect_patiently;
use crate::process::in_path;

/// A server; stopped when it goes out of scope, if it was started here.
#[derive(Debug)]
pub struct Cockroach {
    node: Option<Node>,
    url: Url,
}

/// Where a server may come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Program(PathBuf),
    Url(String),
}

impl Cockroach {
    /// `TEST_COCKROACH_URL`, then each of `COCKROACH_BINARY`, then PATH.
    pub(crate) fn find() -> Vec<Source> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(url) = variable("TEST_COCKROACH_URL") {
            return vec![Source::Url(url.to_string_lossy().into_owned())];
        }
        let Some(programs) = variable("COCKROACH_BINARY") else {
            return in_path("cockroach").map(Source::Program).into_iter().collect();
        };
        let programs = std::env::split_paths(&programs).filter(|path| !path.as_os_str().is_empty());
        programs.map(Source::Program).collect()
    }

    /// The program that it was started from; `None` where it was not started here.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        self.node.as_ref().map(Node::program)
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
        let node = Node::new(program, store)?;
        let url = Url::parse(&node.url("defaultdb")).map_err(|e| failed(e.to_string()))?;
        let mut server = Self { node: Some(node), url };
        server.restart().await?;
        Ok(server)
    }

    /// `kill -9` of a node that was started here.
    pub fn kill(&mut self) {
        if let Some(node) = &mut self.node {
            node.kill();
        }
    }

    /// Starts a node that was started here again, on the ports and the store it had; waits until it answers.
    ///
    /// # Errors
    ///
    /// What the operating system or the server's output says.
    pub async fn restart(&mut self) -> Result<Database, StartError> {
        let Some(node) = &mut self.node else { return Err(failed("it was not started here".to_owned())) };
        node.spawn(&["start-single-node"])?;
        node.ready().await
    }

    /// A server that is there already, by the URL of one of its databases.
    async fn existing(url: &str) -> Result<Self, StartError> {
        let found = connect_patiently(url, &Options::default()).await;
        found.map_err(|error| failed(format!("TEST_COCKROACH_URL: {error}")))?;
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        Ok(Self { node: None, url })
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
