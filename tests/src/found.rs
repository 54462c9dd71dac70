//! Which servers can be had: SQLite always, PostgreSQL where it is installed, and each CockroachDB that is named.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::Server;

use crate::cockroach::Source;
use crate::{Cockroach, Postgres};

/// A server that could be started.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which one.
    pub(crate) server: Server,
    /// What tells it from others of its kind, as `v20.2`; `None` where it is the only one.
    pub(crate) version: Option<String>,
    pub(crate) origin: Origin,
}

/// What a server is started from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Files of a folder.
    Sqlite,
    /// The folder of its programs.
    Postgres(PathBuf),
    Cockroach(Source),
}

impl Found {
    /// Every server of a kind; else how one could be had.
    ///
    /// # Errors
    ///
    /// One line.
    pub fn all(server: Server) -> Result<Vec<Self>, &'static str> {
        let found = |origin| Self { server, version: None, origin };
        match server {
            Server::Sqlite => Ok(vec![found(Origin::Sqlite)]),
            Server::Postgres => Postgres::find()
                .map(|programs| vec![found(Origin::Postgres(programs))])
                .ok_or("install it (initdb and postgres), or put their folder on PATH"),
            Server::Cockroach => {
                let sources = Cockroach::find();
                if sources.is_empty() {
                    return Err("set COCKROACH_BINARY or TEST_COCKROACH_URL, or put cockroach on PATH");
                }
                let versions = versions(&sources);
                let found = sources.into_iter().zip(versions).map(|(source, version)| Self {
                    server,
                    version,
                    origin: Origin::Cockroach(source),
                });
                Ok(found.collect())
            }
        }
    }

    /// How the names of its tests begin, as `postgres` or, where there are several, `cockroachdb-v20.2`.
    #[must_use]
    pub fn name(&self) -> String {
        let version = self.version.as_ref().map(|version| format!("-{version}")).unwrap_or_default();
        format!("{}{version}", short(self.server))
    }
}

/// As in `CockroachDB v20.2`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

/// What a kind of servers is called in the names of tests and in `TEST_REQUIRE`.
pub(crate) fn short(server: Server) -> &'static str {
    match server {
        Server::Sqlite => "sqlite",
        Server::Postgres => "postgres",
        Server::Cockroach => "cockroachdb",
    }
}

/// What tells several from each other: their versions, and their places among those of one version.
fn versions(sources: &[Source]) -> Vec<Option<String>> {
    if sources.len() < 2 {
        return vec![None; sources.len()];
    }
    let mut versions: Vec<String> = Vec::new();
    for source in sources {
        let version = match source {
            Source::Program(program) => version(program),
            Source::Url(_) => None,
        };
        let version = version.unwrap_or_else(|| "unknown".to_owned());
        let mut own = version.clone();
        for place in 2.. {
            if !versions.contains(&own) {
                break;
            }
            own = format!("{version}-{place}");
        }
        versions.push(own);
    }
    versions.into_iter().map(Some).collect()
}

/// The version of a program of CockroachDB without its patch level, as `v20.2`. The program is asked, for nothing is started in order to list
/// the tests.
fn version(program: &Path) -> Option<String> {
    let answer = Command::new(program).arg("version").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let tag = text.lines().find_map(|line| line.strip_prefix("Build Tag:"))?.trim();
    let mut parts = tag.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}
