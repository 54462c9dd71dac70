//! The text of BEGIN on each server.

use crate::runner::Contract;
use crate::server::Version;
use crate::{Begin, Policy, Server};

/// Two transactions in one message begin at the same time, so that `now()` of the first is `xact_start` of the second. A
/// SELECT inside the second would take its snapshot.
const WHICH: &str =
    "BEGIN READ ONLY; SELECT pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::int8; COMMIT; ";

/// How a transaction begins; `None` where each statement is a transaction of its own. `orphaned`: whether an earlier attempt
/// may still hold locks.
pub(crate) fn begin(version: Version, policy: &Policy, contract: Contract, orphaned: bool) -> Option<Begin> {
    let plain = |sql: String| Begin::Plain { sql, identified: false };
    Some(match (contract, version.server) {
        (Contract::Query | Contract::Statement, _) => return None,
        (Contract::Snapshot, Server::Sqlite) => Begin::QueryOnly,
        (Contract::Snapshot, Server::Postgres) => {
            plain("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned())
        }
        (Contract::Snapshot, Server::Cockroach) => match policy.read_as_of {
            Some(ago) => plain(format!("BEGIN AS OF SYSTEM TIME '-{}ms'", ago.as_millis())),
            None => Begin::AtPresent,
        },
        (Contract::Once | Contract::Idempotent, Server::Sqlite) if policy.read_only => Begin::QueryOnly,
        (Contract::Once | Contract::Idempotent, Server::Sqlite) => plain("BEGIN IMMEDIATE".to_owned()),
        (Contract::Once | Contract::Idempotent, server) => write(server, version, policy, orphaned),
    })
}

fn write(server: Server, version: Version, policy: &Policy, orphaned: bool) -> Begin {
    let mut sql = format!("BEGIN ISOLATION LEVEL {}", policy.isolation);
    if server == Server::Cockroach && orphaned {
        sql.push_str(", PRIORITY HIGH");
    }
    if policy.read_only {
        sql.push_str(", READ ONLY");
    }
    if version.ddl_commits {
        sql.push_str("; SET LOCAL autocommit_before_ddl = off");
    }
    let identified = server == Server::Postgres && policy.end_orphans && !policy.read_only;
    if identified {
        sql.insert_str(0, WHICH);
    } else if server == Server::Postgres {
        let limit_ms = policy.answer_deadline.as_millis().clamp(1, i32::MAX as u128);
        sql.push_str(&format!("; SET LOCAL idle_in_transaction_session_timeout = {limit_ms}"));
    }
    Begin::Plain { sql, identified }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Isolation;

    fn text(version: Version, policy: &Policy, contract: Contract, orphaned: bool) -> String {
        match begin(version, policy, contract, orphaned) {
            Some(Begin::Plain { sql, .. }) => sql,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_begin_names_its_isolation() {
        let policy = Policy::default();
        let cockroach = Version::plain(Server::Cockroach);
        let postgres = Version::plain(Server::Postgres);
        let sqlite = Version::plain(Server::Sqlite);
        let newest = Version { server: Server::Cockroach, ddl_commits: true };
        let unwatched = Policy {
            end_orphans: false,
            isolation: Isolation::RepeatableRead,
            answer_deadline: Duration::from_secs(2),
            ..policy.clone()
        };
        let past = Policy { read_as_of: Some(Duration::from_secs(5)), ..policy.clone() };
        let read_only = Policy { read_only: true, ..policy.clone() };
        let serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE";
        let (once, read) = (Contract::Once, Contract::Snapshot);
        for (version, policy, contract, orphaned, expected) in [
            (postgres, &policy, once, false, format!("{WHICH}{serializable}")),
            (
                postgres,
                &unwatched,
                once,
                true,
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL idle_in_transaction_session_timeout = 2000"
                    .into(),
            ),
            (postgres, &policy, read, false, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".into()),
            (cockroach, &policy, once, false, serializable.into()),
            (cockroach, &policy, once, true, format!("{serializable}, PRIORITY HIGH")),
            (cockroach, &read_only, once, false, format!("{serializable}, READ ONLY")),
            (newest, &policy, once, false, format!("{serializable}; SET LOCAL autocommit_before_ddl = off")),
            (cockroach, &past, read, false, "BEGIN AS OF SYSTEM TIME '-5000ms'".into()),
            (cockroach, &policy, read, false, "Some(AtPresent)".into()),
            (sqlite, &policy, once, true, "BEGIN IMMEDIATE".into()),
            (sqlite, &policy, read, false, "Some(QueryOnly)".into()),
            (sqlite, &read_only, once, false, "Some(QueryOnly)".into()),
            (postgres, &policy, Contract::Statement, false, "None".into()),
        ] {
            assert_eq!(text(version, policy, contract, orphaned), expected);
        }
    }
}
