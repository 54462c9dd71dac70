//! The decision table: what an error means in the phase in which it occurred.

use crate::{Class, Server};

/// What the runner was doing when an error occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Acquiring a connection, BEGIN, SAVEPOINT.
    Begin,
    /// The body's own statements; and COMMIT where nothing can be written.
    Body,
    /// COMMIT, or RELEASE of CockroachDB's restart savepoint, which is its commit.
    Commit,
    /// A whole transaction in one autocommitted statement.
    Statement,
    /// Looking up the outcome of such a statement; and COMMIT after an idempotent body has found
    /// its earlier attempt.
    LookUp,
}

/// What the runner does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing of this attempt is applied: roll back, wait, try again.
    Retry,
    /// Nothing of this attempt is applied and its connection is unusable: end what it may have left
    /// open, wait, try again on a new one.
    RetryOnNewConnection,
    /// Nothing of this attempt is applied: clear the connection's prepared statements and try again
    /// on it, once.
    RetryWithoutPlans,
    /// Nothing of this attempt is applied, but an earlier one may be, or another run with the same
    /// id: an idempotent body is tried once more and finds out; any other has failed.
    RetryIfIdempotent,
    /// Nothing of this attempt is applied, and trying again would not help.
    Fail,
    /// The client cannot know whether this attempt is applied.
    Unknown,
    /// This attempt is applied.
    Committed,
}

/// The table. ROLLBACK and ROLLBACK TO have no row: if one fails, the connection is closed and the
/// first error stands.
#[must_use]
pub fn decide(server: Server, phase: Phase, class: Class) -> Verdict {
    use Class::{
        Aborted, Committed, Conflict, Constraint, Definite, Driver, Duplicate, Internal, Lost, Other,
        ReadOnly, Stale,
    };
    use Verdict::{Fail, Retry, RetryIfIdempotent, RetryOnNewConnection, RetryWithoutPlans, Unknown};
    // An ERROR in answer to COMMIT means rolled back on PostgreSQL; the others are less clear.
    let rolled_back = if server == Server::Postgres { Fail } else { Unknown };
    match (phase, class) {
        (Phase::LookUp, _) => Unknown,

        (_, Conflict) => Retry,

        (Phase::Begin, Lost | ReadOnly | Stale | Aborted) => RetryOnNewConnection,
        (Phase::Begin, _) => Fail,

        (_, Constraint) => Fail,
        (_, Duplicate) => RetryIfIdempotent,

        (Phase::Body, Lost | ReadOnly) => RetryOnNewConnection,
        (Phase::Body, Stale) => RetryWithoutPlans,
        (Phase::Body, _) => Fail,

        (_, Lost | Internal) => Unknown,

        (Phase::Commit, Committed) => Verdict::Committed,
        (Phase::Commit, Aborted) => Fail,
        (Phase::Commit, Driver) => Unknown,
        (Phase::Commit, Stale | ReadOnly | Definite | Other) => rolled_back,

        (Phase::Statement, ReadOnly) => RetryOnNewConnection,
        (Phase::Statement, Stale) => RetryWithoutPlans,
        (Phase::Statement, Definite | Driver) => Fail,
        (Phase::Statement, Aborted | Other) => rolled_back,
        (Phase::Statement, Committed) => Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Phase, Server, Verdict, decide};
    use crate::Class;

    const EVERY: [Server; 3] = [Server::Sqlite, Server::Postgres, Server::Cockroach];

    /// What COMMIT's own errors say for certain on every server. Whatever else a server may think
    /// of stays unknown, but on PostgreSQL, whose ERROR means rolled back.
    fn known_at_commit(code: &str) -> Option<Verdict> {
        match code {
            "40001" | "40P01" | "CR000" | "5" | "517" | "261" | "773" | "6" | "262" => Some(Verdict::Retry),
            "XXA00" => Some(Verdict::Committed),
            "23505" | "1555" | "2067" => Some(Verdict::RetryIfIdempotent),
            "25P02" | "3B001" | "13" => Some(Verdict::Fail),
            _ if code.len() == 5 && code.starts_with("23") => Some(Verdict::Fail),
            _ if code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code % 256 == 19) => {
                Some(Verdict::Fail)
            }
            _ => None,
        }
    }

    fn stays_unknown_on_postgres(code: &str) -> bool {
        let classes = ["08", "57P", "58", "XX"];
        // 53300 and 25P03 belong to a session that has ended.
        ["40003", "53300", "25P03", "25P04"].contains(&code)
            || classes.iter().any(|class| code.starts_with(class))
    }

    proptest! {
        #[test]
        fn at_commit_nothing_is_believed_that_is_not_known(
            code in "[0-9A-Z]{5}|(08|22|23|25|40|53|57|XX)[0-9AP]{3}|[0-9]{1,4}",
        ) {
            let class = Class::of_code(&code);
            for server in EVERY {
                let otherwise = match server {
                    Server::Postgres if !(code.len() == 5 && stays_unknown_on_postgres(&code)) => Verdict::Fail,
                    _ => Verdict::Unknown,
                };
                let at_commit = decide(server, Phase::Commit, class);
                prop_assert_eq!(at_commit, known_at_commit(&code).unwrap_or(otherwise), "{} on {}", code, server);
                // Before COMMIT nothing is applied.
                for phase in [Phase::Begin, Phase::Body] {
                    let verdict = decide(server, phase, class);
                    prop_assert!(!matches!(verdict, Verdict::Unknown | Verdict::Committed), "{}", code);
                }
            }
        }
    }

    /// The table of the design, cell by cell, by code; COMMIT and statement for PostgreSQL and for
    /// CockroachDB.
    #[test]
    fn every_code_is_decided_as_the_table_says() {
        use Phase::{Begin, Body, Commit, Statement};
        use Verdict::{
            Committed, Fail, Retry, RetryIfIdempotent as Once, RetryOnNewConnection as Anew,
            RetryWithoutPlans as Plans, Unknown,
        };
        type Row = (&'static [&'static str], [Verdict; 6]);
        // Begin, body, COMMIT (PostgreSQL, CockroachDB), statement (PostgreSQL, CockroachDB).
        let rows: [Row; 13] = [
            (
                &["40001", "CR000", "40P01", "5", "517", "261", "773", "6", "262"],
                [Retry, Retry, Retry, Retry, Retry, Retry],
            ),
            (
                &["57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04", "08006", "08P01", "40003"],
                [Anew, Anew, Unknown, Unknown, Unknown, Unknown],
            ),
            (
                &["53300", "58C00", "58C01", "XXUUU", "XXC02"],
                [Anew, Anew, Unknown, Unknown, Unknown, Unknown],
            ),
            (&["25006"], [Anew, Anew, Fail, Unknown, Anew, Anew]),
            (&["0A000", "26000", "42P05"], [Anew, Plans, Fail, Unknown, Plans, Plans]),
            (&["23503", "23514", "23502", "275", "787", "19", "1043"], [Fail, Fail, Fail, Fail, Fail, Fail]),
            (&["23505", "1555", "2067"], [Fail, Once, Once, Once, Once, Once]),
            (&["25P02", "3B001", "13"], [Anew, Fail, Fail, Fail, Fail, Unknown]),
            (
                &["22003", "22P02", "42501", "42P01", "28000", "3D000", "3F000", "54000", "2BP01"],
                [Fail, Fail, Fail, Unknown, Fail, Fail],
            ),
            (&["XXA00"], [Fail, Fail, Committed, Committed, Unknown, Unknown]),
            (&["XX000", "58030", "57P99"], [Fail, Fail, Unknown, Unknown, Unknown, Unknown]),
            (&["P0001", "57014", "40002", "53100"], [Fail, Fail, Fail, Unknown, Fail, Unknown]),
            (
                &["1034", "10", "9", "08", "230", "22", "x19", "00019"],
                [Fail, Fail, Fail, Unknown, Fail, Unknown],
            ),
        ];
        for (codes, verdicts) in rows {
            for code in codes {
                let class = Class::of_code(code);
                let decided = [
                    decide(Server::Postgres, Begin, class),
                    decide(Server::Postgres, Body, class),
                    decide(Server::Postgres, Commit, class),
                    decide(Server::Cockroach, Commit, class),
                    decide(Server::Postgres, Statement, class),
                    decide(Server::Cockroach, Statement, class),
                ];
                assert_eq!(decided, verdicts, "{code}");
                for server in EVERY {
                    assert_eq!(decide(server, Phase::LookUp, class), Unknown, "{code}");
                }
                assert_eq!(
                    decide(Server::Sqlite, Commit, class),
                    decide(Server::Cockroach, Commit, class),
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn what_the_driver_refuses_fails_in_the_body_and_is_unknown_at_commit() {
        assert_eq!(decide(Server::Postgres, Phase::Body, Class::Driver), Verdict::Fail);
        assert_eq!(decide(Server::Postgres, Phase::Statement, Class::Driver), Verdict::Fail);
        assert_eq!(decide(Server::Postgres, Phase::Commit, Class::Driver), Verdict::Unknown);
    }
}
