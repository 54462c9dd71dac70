//! The texts of BEGIN, COMMIT and ROLLBACK on each server.

use crate::{Contract, Id, Policy, Server, Version};

/// Two transactions in one message begin at the same time, so that `now()` of the first is
/// `xact_start` of the second. A SELECT inside the second would take its snapshot. Not with `||`,
/// which is an SQL function for a number and a text: the planner expands it anew for each BEGIN.
const ASK_ID: &str = "BEGIN READ ONLY; SELECT concat_ws(' ', pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::int8); COMMIT; ";

/// The setting applies from the next transaction on.
const WRITE_AT_ONCE: &str = "BEGIN; SET kv_transaction_buffered_writes_enabled = off; COMMIT; ";

/// CockroachDB's present. Below SERIALIZABLE, which can be the session's default, there is no
/// logical timestamp.
pub(crate) const PRESENT: &str =
    "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT cluster_logical_timestamp()::STRING; COMMIT";

/// Writes to PostgreSQL's log, so that the COMMIT after it waits for the standbys that the found
/// transaction waited for.
const WAIT_FOR_STANDBYS: &str = "SELECT pg_logical_emit_message(true, 'sea-orm-retry', '')";

/// The savepoint of CockroachDB's client-side retry protocol. Releasing it commits.
pub(crate) const RESTART: &str = "cockroach_restart";

/// How an attempt's transaction begins and ends.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) version: Version,
    pub(crate) contract: Contract,
    /// Whether anything can be written.
    pub(crate) writes: bool,
    /// The restarts left, where there is a savepoint for them.
    pub(crate) restarts: Option<u32>,
    pub(crate) id: Option<Id>,
}

impl Frame {
    /// Whether it reads CockroachDB's present, whose timestamp has to be queried first.
    pub(crate) fn asks_for_the_present(&self, policy: &Policy) -> bool {
        self.version.server == Server::Cockroach && !self.contract.writes && policy.read_as_of.is_none()
    }

    /// The text that begins it. `orphaned`: whether an earlier attempt may still hold locks. `now`:
    /// the timestamp of CockroachDB's present, for a snapshot of it.
    pub(crate) fn begin(&self, policy: &Policy, orphaned: bool, now: Option<String>) -> String {
        match self.version.server {
            Server::Sqlite if self.writes => "BEGIN IMMEDIATE".to_owned(),
            Server::Sqlite => "PRAGMA query_only = ON; BEGIN".to_owned(),
            _ if self.contract.writes => write(self.version, policy, orphaned),
            Server::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned(),
            Server::Cockroach => {
                let ago = || format!("'-{}ms'", policy.read_as_of.unwrap_or_default().as_millis());
                format!("BEGIN AS OF SYSTEM TIME {}", now.unwrap_or_else(ago))
            }
        }
    }

    /// The text that commits it, if any has to be sent. `found`: whether the body found an earlier
    /// attempt applied.
    pub(crate) fn commit(&self, found: bool) -> Option<String> {
        let waits = found && self.version.server == Server::Postgres;
        match (self.contract.is_transaction, waits) {
            _ if self.restarts.is_some() => Some(format!("RELEASE SAVEPOINT {RESTART}")),
            (true, true) => Some(format!("{WAIT_FOR_STANDBYS}; COMMIT")),
            (true, false) => Some(self.end("COMMIT")),
            (false, true) => Some(WAIT_FOR_STANDBYS.to_owned()),
            (false, false) => None,
        }
    }

    /// COMMIT or ROLLBACK. On SQLite, a transaction that could not write also makes its connection
    /// writable again.
    pub(crate) fn end(&self, how: &str) -> String {
        let sqlite_reads = self.version.server == Server::Sqlite && !self.writes;
        format!("{how}{}", if sqlite_reads { "; PRAGMA query_only = OFF" } else { "" })
    }
}

fn write(version: Version, policy: &Policy, orphaned: bool) -> String {
    let mut sql = format!("BEGIN ISOLATION LEVEL {}", policy.isolation);
    if version.server == Server::Cockroach && orphaned {
        sql.push_str(", PRIORITY HIGH");
    }
    if policy.read_only {
        sql.push_str(", READ ONLY");
    }
    if version.commits_before_ddl() {
        sql.push_str("; SET LOCAL autocommit_before_ddl = off");
    }
    if version.buffers_writes() {
        sql.insert_str(0, WRITE_AT_ONCE);
    }
    if version.server == Server::Postgres && policy.end_orphans && !policy.read_only {
        sql.insert_str(0, ASK_ID);
    } else if version.server == Server::Postgres {
        let limit_ms = policy.answer_deadline.as_millis().clamp(1, i32::MAX as u128);
        sql.push_str(&format!("; SET LOCAL idle_in_transaction_session_timeout = {limit_ms}"));
    }
    sql
}

/// Parses the answer to a BEGIN with [`ASK_ID`].
pub(crate) fn parse_id(answer: &str) -> Option<Id> {
    let (pid, started_us) = answer.split_once(' ')?;
    Some(Id { pid: pid.parse().ok()?, started_us: started_us.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Isolation;

    fn frame(version: Version, contract: Contract, writes: bool) -> Frame {
        Frame { version, contract, writes, restarts: None, id: None }
    }

    #[test]
    fn every_begin_names_its_isolation() {
        let policy = Policy::default();
        let cockroach = Version::from(Server::Cockroach);
        let postgres = Version::from(Server::Postgres);
        let sqlite = Version::from(Server::Sqlite);
        let v25_1 = Version::parse("CockroachDB CCL v25.1.0");
        let newest = Version::parse("CockroachDB CCL v26.2.1");
        let refused = Version { with_settings: false, ..newest };
        let unwatched = Policy {
            end_orphans: false,
            isolation: Isolation::RepeatableRead,
            answer_deadline: Duration::from_secs(2),
            ..policy.clone()
        };
        let past = Policy { read_as_of: Some(Duration::from_secs(5)), ..policy.clone() };
        let read_only = Policy { read_only: true, ..policy.clone() };
        let uncommitted = Policy { isolation: Isolation::ReadUncommitted, ..policy.clone() };
        let serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE";
        let no_ddl = "SET LOCAL autocommit_before_ddl = off";
        let idle = "SET LOCAL idle_in_transaction_session_timeout";
        let (once, read) = (Contract::ONCE, Contract::SNAPSHOT);
        for (version, policy, contract, orphaned, expected) in [
            (postgres, &policy, once, false, format!("{ASK_ID}{serializable}")),
            (
                postgres,
                &unwatched,
                once,
                true,
                format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {idle} = 2000"),
            ),
            (postgres, &read_only, once, false, format!("{serializable}, READ ONLY; {idle} = 35000")),
            (postgres, &policy, read, false, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".into()),
            (postgres, &uncommitted, once, false, format!("{ASK_ID}BEGIN ISOLATION LEVEL READ UNCOMMITTED")),
            (cockroach, &uncommitted, once, false, "BEGIN ISOLATION LEVEL READ UNCOMMITTED".into()),
            (sqlite, &uncommitted, once, false, "BEGIN IMMEDIATE".into()),
            (cockroach, &policy, once, false, serializable.into()),
            (cockroach, &policy, once, true, format!("{serializable}, PRIORITY HIGH")),
            (cockroach, &read_only, once, false, format!("{serializable}, READ ONLY")),
            (v25_1, &policy, once, false, format!("{serializable}; {no_ddl}")),
            (
                newest,
                &policy,
                Contract::IDEMPOTENT,
                false,
                format!("{WRITE_AT_ONCE}{serializable}; {no_ddl}"),
            ),
            (refused, &policy, once, false, serializable.into()),
            (cockroach, &past, read, false, "BEGIN AS OF SYSTEM TIME '-5000ms'".into()),
            (sqlite, &policy, once, true, "BEGIN IMMEDIATE".into()),
            (sqlite, &policy, read, false, "PRAGMA query_only = ON; BEGIN".into()),
            (sqlite, &read_only, once, false, "PRAGMA query_only = ON; BEGIN".into()),
        ] {
            let frame = frame(version, contract, contract.writes && !policy.read_only);
            assert_eq!(frame.begin(policy, orphaned, None), expected);
        }
        let now = Some("1700000000000000000.0000000000".to_owned());
        let present = "BEGIN AS OF SYSTEM TIME 1700000000000000000.0000000000";
        assert_eq!(frame(newest, read, false).begin(&policy, false, now), present);
    }

    #[test]
    fn a_transaction_is_named_by_its_process_and_its_start() {
        assert_eq!(
            parse_id("4711 1700000000123456"),
            Some(Id { pid: 4711, started_us: 1_700_000_000_123_456 })
        );
        for nothing in ["", "4711", "a 1", "1 b"] {
            assert_eq!(parse_id(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_commit_waits_for_standbys_after_what_was_found_and_lets_sqlite_write_again() {
        let (once, statement, read) = (Contract::ONCE, Contract::STATEMENT, Contract::SNAPSHOT);
        for (server, contract, writes, found, expected) in [
            (Server::Postgres, once, true, false, Some("COMMIT".to_owned())),
            (Server::Postgres, once, true, true, Some(format!("{WAIT_FOR_STANDBYS}; COMMIT"))),
            (Server::Postgres, statement, true, true, Some(WAIT_FOR_STANDBYS.to_owned())),
            (Server::Postgres, statement, true, false, None),
            (Server::Cockroach, once, true, true, Some("COMMIT".to_owned())),
            (Server::Cockroach, statement, true, true, None),
            (Server::Sqlite, once, true, true, Some("COMMIT".to_owned())),
            (Server::Sqlite, read, false, false, Some("COMMIT; PRAGMA query_only = OFF".to_owned())),
            (Server::Postgres, read, false, false, Some("COMMIT".to_owned())),
        ] {
            assert_eq!(frame(server.into(), contract, writes).commit(found), expected);
        }
        let sqlite = |writes| frame(Server::Sqlite.into(), once, writes);
        assert_eq!(sqlite(false).end("ROLLBACK"), "ROLLBACK; PRAGMA query_only = OFF");
        assert_eq!(sqlite(true).end("ROLLBACK"), "ROLLBACK");
    }
}
