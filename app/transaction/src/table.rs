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
}

/// What the runner does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing of this attempt is applied: roll back, wait, try again.
    Retry,
    /// Nothing of this attempt is applied, and its connection is of no more use: try again on a new one, after
    /// ending what the old one may have left open.
    RetryOnNewConnection,
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
    use Class::{Ambiguous, Committed, Conflict, Lost, Other, Refused, StalePlan, Unavailable};
    use Verdict::{Fail, Retry, RetryOnNewConnection, Unknown};
    match (phase, class) {
        (Phase::Begin, Conflict) => Retry,
        (Phase::Begin, Lost | Ambiguous | Unavailable) => RetryOnNewConnection,
        (Phase::Begin, StalePlan | Refused | Committed | Other) => Fail,

        (Phase::Body, Conflict) => Retry,
        (Phase::Body, Lost | Ambiguous | Unavailable | StalePlan) => RetryOnNewConnection,
        (Phase::Body, Refused | Committed | Other) => Fail,

        (Phase::Commit, Conflict) => Retry,
        (Phase::Commit, Lost | Ambiguous | Unavailable) => Unknown,
        (Phase::Commit, Refused) => Fail,
        (Phase::Commit, Committed) => Verdict::Committed,
        (Phase::Commit, StalePlan | Other) => Unknown,

        (Phase::CommitAfterRelease, _) => Verdict::Committed,
        (Phase::RollbackTo, _) => RetryOnNewConnection,
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Verdict, decide};
    use crate::Class;

    /// The table of the design, cell by cell, by code.
    #[test]
    fn every_code_is_decided_as_the_table_says() {
        use Phase::{Begin, Body, Commit, CommitAfterRelease, RollbackTo};
        use Verdict::{Committed, Fail, Retry, RetryOnNewConnection as Anew, Unknown};
        let rows: [(&[&str], [Verdict; 5]); 8] = [
            (
                &["40001", "CR000", "40P01", "5", "517", "261", "773", "6", "262"],
                [Retry, Retry, Retry, Committed, Anew],
            ),
            (
                &["57P01", "57P04", "57P05", "25P03", "25P04", "08006", "08P01"],
                [Anew, Anew, Unknown, Committed, Anew],
            ),
            (&["40003"], [Anew, Anew, Unknown, Committed, Anew]),
            (&["53300", "57P02", "57P03"], [Anew, Anew, Unknown, Committed, Anew]),
            (&["0A000"], [Fail, Anew, Unknown, Committed, Anew]),
            (
                &["23505", "23503", "23514", "25P02", "3B001", "13", "275", "787", "1555"],
                [Fail, Fail, Fail, Committed, Anew],
            ),
            (&["XXA00"], [Fail, Fail, Committed, Committed, Anew]),
            (
                &["57014", "42P01", "22003", "XX000", "40002", "1034", "10", "9"],
                [Fail, Fail, Unknown, Committed, Anew],
            ),
        ];
        for (codes, verdicts) in rows {
            for code in codes {
                for (phase, verdict) in
                    [Begin, Body, Commit, CommitAfterRelease, RollbackTo].into_iter().zip(verdicts)
                {
                    assert_eq!(decide(phase, Class::of_code(code)), verdict, "{code} in {phase:?}");
                }
            }
        }
    }
}
