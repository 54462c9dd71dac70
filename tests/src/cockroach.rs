//! A CockroachDB server: one node in memory or on disk, or an existing server.

use std::path::{Path, PathBuf};

use ::database::{Database, Options};
use url::Url;

use crate::StartError;
use crate::node::{Node, Store, failed};
use crate::patience::connect_patiently;
use crate::process::in_path;

/// A server. Dropping it stops a node that was started here.
#[derive(Debug)]
pub struct Cockroach {
    node: Option<Node>,
    url: Url,
}

/// Where a server comes from.
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

    /// The program of a node that was started here.
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

    /// Starts an insecure node in memory, on free ports of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// From the operating system, or the server's output.
    pub async fn start(program: &Path) -> Result<Self, StartError> {
        Self::start_node(program, Store::Memory).await
    }

    /// Starts an insecure node on disk, which can be killed and restarted.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
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

    /// Kills the node (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(node) = &mut self.node {
            node.kill();
        }
    }

    /// Restarts the node on its ports and store; waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<Database, StartError> {
        let Some(node) = &mut self.node else { return Err(failed("it was not started here".to_owned())) };
        node.spawn(&["start-single-node"], None)?;
        node.ready().await
    }

    /// Connects to an existing server.
    async fn existing(url: &str) -> Result<Self, StartError> {
        let found = connect_patiently(url, &Options::default()).await;
        found.map_err(|error| failed(format!("TEST_COCKROACH_URL: {error}")))?;
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        Ok(Self { node: None, url })
    }

    /// A database's URL; by default, the existing server's own.
    #[must_use]
    pub fn url(&self, database: Option<&str>) -> String {
        let mut url = self.url.clone();
        if let Some(database) = database {
            url.set_path(database);
        }
        url.into()
    }

    /// Whether the server was started here, so that its databases need no clean-up.
    #[must_use]
    pub fn is_throw_away(&self) -> bool {
        self.node.is_some()
    }
}
