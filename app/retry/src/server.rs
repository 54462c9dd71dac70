//! The server behind a pool, as its own `version()` names it.

use std::fmt;

use sea_orm::DbBackend;

/// The server behind a pool. CockroachDB speaks PostgreSQL's protocol and differs in what a transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// CockroachDB.
    Cockroach,
}

impl Server {
    pub(crate) fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres | Self::Cockroach => DbBackend::Postgres,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Cockroach => "CockroachDB",
        })
    }
}

/// What `version()` says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) server: Server,
    /// Whether DDL inside a transaction commits what came before, unless `autocommit_before_ddl` is off.
    pub(crate) ddl_commits: bool,
}

impl Version {
    pub(crate) fn plain(server: Server) -> Self {
        Self { server, ddl_commits: false }
    }

    /// Reads the answer of `SELECT version()`.
    pub(crate) fn parse(text: &str) -> Self {
        if !text.contains("CockroachDB") {
            return Self::plain(Server::Postgres);
        }
        let number = text.split_whitespace().find_map(|word| word.strip_prefix('v')).unwrap_or_default();
        let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Self { server: Server::Cockroach, ddl_commits: version >= (25, 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_the_server_and_whether_ddl_commits() {
        let cockroach = |ddl_commits| Version { server: Server::Cockroach, ddl_commits };
        for (text, expected) in [
            ("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64", Version::plain(Server::Postgres)),
            ("CockroachDB CCL v20.2.0 (x86_64-unknown-linux-gnu, built …)", cockroach(false)),
            ("CockroachDB OSS v22.1.0-alpha.1-1234-gabcdef (…)", cockroach(false)),
            ("CockroachDB CCL v24.3.9 (…)", cockroach(false)),
            ("CockroachDB CCL v25.1.0-beta.1 (…)", cockroach(true)),
            ("CockroachDB CCL v26.2.1 (…)", cockroach(true)),
            ("CockroachDB", cockroach(false)),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }
}
