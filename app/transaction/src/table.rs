//! The decision table: what an error means depends on what the runner was doing when it came.

use crate::Class;

/// What the runner was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Acquiring a connection, BEGIN, SAVEPOINT.
    Begin,
    /// The body's own statements.
    Body,
    /// COMMIT, or RELEASE of CockroachDB's restart savepoint, which is its commit.
    Commit,
    /// COMMIT after that RELEASE.
    CommitAfterRelease,
    /// ROLLBACK TO the restart savepoint.
    RollbackTo,
    /// A whole transaction in one autocommitted statement.
    Statement,
    /// Looking up what became of such a statement, after it was answered.
    LookUp,
}

/// What the runner does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing of this attempt is applied: roll back, wait, try again.
    Retry,
    /// Nothing of this attempt is applied, and its connection is of no more use: try again on a new one, after
    /// ending what the old one may have left open.
    RetryOnNewConnection,
    /// The same, once: where it comes again it fails.
    RetryOnceOnNewConnection,
    /// Nothing of this attempt is applied, but an earlier one may be, or another run with the same id: an idempotent body
    /// is run once more and looks; any other has failed.
    LookUp,
    /// Nothing of this attempt is applied, and trying again would not help.
    Fail,
    /// Nobody here can know whether this attempt is applied.
    Unknown,
    /// This attempt is applied.
    Committed,
}

/// The table. Its rows are the phases, its columns the classes; a ROLLBACK has no row, for nothing depends on it: where
/// it fails the connection is dropped, and the first error stands.
#[must_use]
pub fn decide(phase: Phase, class: Class) -> Verdict {
    use Class::{
        Aborted, Ambiguous, Committed, Conflict, Constraint, Data, Duplicate, Lost, Other, StalePlan,
        Unavailable,
    };
    use Verdict::{Fail, LookUp, Retry, RetryOnNewConnection, RetryOnceOnNewConnection, Unknown};
    match (phase, class) {
        (Phase::Begin, Conflict) => Retry,
        (Phase::Begin, Lost | Ambiguous | Unavailable) => RetryOnNewConnection,
        (Phase::Begin, StalePlan | Constraint | Duplicate | Data | Aborted | Committed | Other) => Fail,

        (Phase::Body, Conflict) => Retry,
        (Phase::Body, Lost | Ambiguous | Unavailable) => RetryOnNewConnection,
        (Phase::Body, StalePlan) => RetryOnceOnNewConnection,
        (Phase::Body, Duplicate) => LookUp,
        (Phase::Body, Constraint | Data | Aborted | Committed | Other) => Fail,

        (Phase::Commit, Conflict) => Retry,
        (Phase::Commit, Lost | Ambiguous | Unavailable) => Unknown,
        (Phase::Commit, Duplicate) => LookUp,
        (Phase::Commit, Constraint | Aborted) => Fail,
        (Phase::Commit, Committed) => Verdict::Committed,
        (Phase::Commit, StalePlan | Data | Other) => Unknown,

        (Phase::CommitAfterRelease, _) => Verdict::Committed,
        (Phase::RollbackTo, _) => RetryOnNewConnection,

        (Phase::Statement, Conflict) => Retry,
        (Phase::Statement, Lost | Ambiguous | Unavailable) => Unknown,
        (Phase::Statement, Duplicate) => LookUp,
        (Phase::Statement, Constraint | Data) => Fail,
        (Phase::Statement, StalePlan | Aborted | Committed | Other) => Unknown,

        (Phase::LookUp, _) => Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Phase, Verdict, decide};
    use crate::Class;

    /// What COMMIT's own errors say for certain. Whatever else a server may think of stays unknown.
    fn known_at_commit(code: &str) -> Option<Verdict> {
        match code {
            "40001" | "40P01" | "CR000" | "5" | "517" | "261" | "773" | "6" | "262" => Some(Verdict::Retry),
            "XXA00" => Some(Verdict::Committed),
            "23505" | "1555" | "2067" => Some(Verdict::LookUp),
            "25P02" | "3B001" | "13" => Some(Verdict::Fail),
            _ if code.len() == 5 && code.starts_with("23") => Some(Verdict::Fail),
            _ if code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code % 256 == 19) => {
                Some(Verdict::Fail)
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn at_commit_nothing_is_believed_that_is_not_known(
            code in "[0-9A-Z]{5}|(08|22|23|25|40|53|57|XX)[0-9AP]{3}|[0-9]{1,4}",
        ) {
            let class = Class::of_code(&code);
            let at_commit = decide(Phase::Commit, class);
            prop_assert_eq!(at_commit, known_at_commit(&code).unwrap_or(Verdict::Unknown), "{}", code);
            // Before COMMIT nothing is applied, and after its answer nothing is open.
            for phase in [Phase::Begin, Phase::Body, Phase::RollbackTo] {
                prop_assert!(!matches!(decide(phase, class), Verdict::Unknown | Verdict::Committed), "{}", code);
            }
            prop_assert_eq!(decide(Phase::CommitAfterRelease, class), Verdict::Committed);
        }
    }

    /// The table of the design, cell by cell, by code.
    #[test]
    fn every_code_is_decided_as_the_table_says() {
        use Phase::{Begin, Body, Commit, CommitAfterRelease, RollbackTo, Statement};
        use Verdict::{
            Committed, Fail, LookUp, Retry, RetryOnNewConnection as Anew, RetryOnceOnNewConnection as Once,
            Unknown,
        };
        let phases = [Begin, Body, Commit, CommitAfterRelease, RollbackTo, Statement, Phase::LookUp];
        let rows: [(&[&str], [Verdict; 7]); 11] = [
            (
                &["40001", "CR000", "40P01", "5", "517", "261", "773", "6", "262"],
                [Retry, Retry, Retry, Committed, Anew, Retry, Unknown],
            ),
            (
                &["57P01", "57P04", "57P05", "25P03", "25P04", "08006", "08P01"],
                [Anew, Anew, Unknown, Committed, Anew, Unknown, Unknown],
            ),
            (&["40003"], [Anew, Anew, Unknown, Committed, Anew, Unknown, Unknown]),
            (
                &["53300", "57P02", "57P03", "58C00", "58C01", "XXUUU"],
                [Anew, Anew, Unknown, Committed, Anew, Unknown, Unknown],
            ),
            (&["0A000"], [Fail, Once, Unknown, Committed, Anew, Unknown, Unknown]),
            (
                &["23503", "23514", "23502", "275", "787", "19", "1043"],
                [Fail, Fail, Fail, Committed, Anew, Fail, Unknown],
            ),
            (&["23505", "1555", "2067"], [Fail, LookUp, LookUp, Committed, Anew, LookUp, Unknown]),
            (&["25P02", "3B001", "13"], [Fail, Fail, Fail, Committed, Anew, Unknown, Unknown]),
            (&["22003", "22P02", "22012"], [Fail, Fail, Unknown, Committed, Anew, Fail, Unknown]),
            (&["XXA00"], [Fail, Fail, Committed, Committed, Anew, Unknown, Unknown]),
            (
                &["57014", "42P01", "XX000", "40002", "1034", "10", "9", "08", "230", "22", "x19", "00019"],
                [Fail, Fail, Unknown, Committed, Anew, Unknown, Unknown],
            ),
        ];
        for (codes, verdicts) in rows {
            for code in codes {
                for (phase, verdict) in phases.into_iter().zip(verdicts) {
                    assert_eq!(decide(phase, Class::of_code(code)), verdict, "{code} in {phase:?}");
                }
            }
        }
    }
}
