//! The available servers: SQLite, an installed PostgreSQL, and each CockroachDB that is named.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::Server;

use crate::cockroach::Source;
use crate::{Cockroach, Postgres};

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which one.
    pub(crate) server: Server,
    /// Distinguishes several of one kind, such as `v20.2`.
    pub(crate) version: Option<String>,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Files of a folder.
    Sqlite,
    /// The folder of its programs.
    Postgres(PathBuf),
    Cockroach(Source),
}

impl Found {
    /// All servers of a kind.
    ///
    /// # Errors
    ///
    /// One line that says how to get one.
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

    /// The prefix of its tests' names, such as `postgres` or `cockroachdb-v20.2`.
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

/// The name of a kind in test names and in `TEST_REQUIRE`.
pub(crate) fn short(server: Server) -> &'static str {
    match server {
        Server::Sqlite => "sqlite",
        Server::Postgres => "postgres",
        Server::Cockroach => "cockroachdb",
    }
}

/// The versions, numbered where two are equal.
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

/// A program's version without the patch level, such as `v20.2`.
fn version(program: &Path) -> Option<String> {
    release(program).map(|(year, number)| format!("v{year}.{number}"))
}

/// A program's year and release. Asks the program, because listing the tests starts no server.
pub(crate) fn release(program: &Path) -> Option<(u32, u32)> {
    let answer = Command::new(program).arg("version").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let tag = text.lines().find_map(|line| line.strip_prefix("Build Tag:"))?.trim();
    let mut parts = tag.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
