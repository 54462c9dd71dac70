//! The server behind a pool, read from `version()`.

use std::fmt;

/// The server behind a pool. CockroachDB speaks PostgreSQL's protocol and differs in what a
/// transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// CockroachDB.
    Cockroach,
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

/// The relevant part of `version()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub(crate) server: Server,
    /// CockroachDB's year and release; zeros if the text names none.
    pub(crate) release: (u32, u32),
    /// Whether the settings of its release are sent. They are not after the server refused one.
    pub(crate) with_settings: bool,
}

impl Version {
    /// Reads the answer of `SELECT version()`.
    pub fn parse(text: &str) -> Self {
        if !text.contains("CockroachDB") {
            return Self::from(Server::Postgres);
        }
        let number = text.split_whitespace().find_map(|word| word.strip_prefix('v')).unwrap_or_default();
        let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
        let release = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Self { release, ..Self::from(Server::Cockroach) }
    }

    /// Whether the server knows `autocommit_before_ddl`, which is on by default: DDL in a
    /// transaction commits what came before. A server that is sent any setting is sent this one.
    pub(crate) fn commits_before_ddl(self) -> bool {
        self.with_settings && self.release >= (25, 1)
    }

    /// Whether the server knows `kv_transaction_buffered_writes_enabled`, which is on by default
    /// since v26.2: writes reach the other nodes at COMMIT only, and until then locks are in the
    /// memory of one node.
    pub(crate) fn buffers_writes(self) -> bool {
        self.with_settings && self.release >= (25, 2)
    }

    /// Whether a lock or an id written by this transaction keeps every earlier attempt out, also
    /// after a rollback. It does not if writes may be buffered and that cannot be switched off.
    pub(crate) fn keeps_locks(self) -> bool {
        let known = (1, 0)..(25, 2);
        self.server != Server::Cockroach || known.contains(&self.release) || self.buffers_writes()
    }
}

/// A server of an unknown version.
impl From<Server> for Version {
    fn from(server: Server) -> Self {
        Self { server, release: (0, 0), with_settings: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_the_server_and_what_it_knows() {
        assert_eq!(
            Version::parse("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64"),
            Server::Postgres.into()
        );
        // Whether DDL commits, whether writes can be buffered, whether locks are kept.
        for (text, expected) in [
            ("CockroachDB CCL v20.2.0 (x86_64-unknown-linux-gnu, built …)", (false, false, true)),
            ("CockroachDB OSS v22.1.0-alpha.1-1234-gabcdef (…)", (false, false, true)),
            ("CockroachDB CCL v24.3.9 (…)", (false, false, true)),
            ("CockroachDB CCL v25.1.0-beta.1 (…)", (true, false, true)),
            ("CockroachDB CCL v25.2.0 (…)", (true, true, true)),
            ("CockroachDB CCL v26.2.1 (…)", (true, true, true)),
            ("CockroachDB", (false, false, false)),
        ] {
            let version = Version::parse(text);
            assert_eq!(version.server, Server::Cockroach, "{text}");
            let found = (version.commits_before_ddl(), version.buffers_writes(), version.keeps_locks());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn where_a_setting_is_refused_none_is_sent_and_locks_of_newer_releases_are_not_relied_on() {
        for (text, keeps_locks) in [("CockroachDB CCL v25.1.0", true), ("CockroachDB CCL v26.2.0", false)] {
            let version = Version { with_settings: false, ..Version::parse(text) };
            assert!(!version.commits_before_ddl() && !version.buffers_writes(), "{text}");
            assert_eq!(version.keeps_locks(), keeps_locks, "{text}");
        }
        for server in [Server::Sqlite, Server::Postgres] {
            assert!(Version::from(server).keeps_locks(), "{server}");
        }
    }
}
