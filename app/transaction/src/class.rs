//! What an error of a statement means, by its code: the columns of the decision table.

use database::{driver_error, sqlstate};
use sea_orm::{ConnAcquireErr, DbErr};

/// What an error says of the statement that met it. Nobody looks at texts: only at codes and at who reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Serialization failure, deadlock, SQLite's busy family: the server has given the transaction up.
    Conflict,
    /// The connection broke, the server is leaving, our deadline passed, or a statement's future was dropped.
    Lost,
    /// 40003: the server itself does not know whether the statement completed.
    Ambiguous,
    /// Too many connections, or still starting; on CockroachDB, what a statement needs cannot be reached.
    Unavailable,
    /// 0A000: a plan cached by this connection no longer fits the schema (or the feature is not there at all).
    StalePlan,
    /// A constraint other than a unique one, class 23. At COMMIT: a deferred one.
    Constraint,
    /// A unique constraint: perhaps the transaction's own id, written by its own earlier attempt.
    Duplicate,
    /// A value that does not fit, class 22.
    Data,
    /// The transaction was given up before: an aborted one (25P02), no such savepoint (3B001), SQLite's full disk.
    Aborted,
    /// At COMMIT: XXA00, CockroachDB's "the transaction is committed, a schema change in it failed".
    Committed,
    /// Any other error.
    Other,
}

impl Class {
    /// Sorts an error.
    #[must_use]
    pub fn of(error: &DbErr) -> Self {
        match sqlstate(error) {
            Some(code) => Self::of_code(&code),
            None if is_link(error) => Self::Lost,
            None => Self::Other,
        }
    }

    /// Sorts a code: five characters are a SQLSTATE, fewer are SQLite's extended result code in decimal.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        match code {
            "40001" | "40P01" | "CR000" => Self::Conflict,
            // SQLITE_BUSY, _SNAPSHOT, _RECOVERY, _TIMEOUT; SQLITE_LOCKED, _SHAREDCACHE
            "5" | "517" | "261" | "773" | "6" | "262" => Self::Conflict,
            "40003" => Self::Ambiguous,
            "53300" | "57P02" | "57P03" => Self::Unavailable,
            // CockroachDB's: a range that has lost its copies, a connection between its nodes, and whatever came from its inside
            // without a code. The last is what v20.2 says of a node that has just died ("unable to dial", "breaker open").
            "58C00" | "58C01" | "XXUUU" => Self::Unavailable,
            "57P01" | "57P04" | "57P05" | "25P03" | "25P04" => Self::Lost,
            "0A000" => Self::StalePlan,
            "25P02" | "3B001" => Self::Aborted,
            // SQLITE_FULL
            "13" => Self::Aborted,
            // 2067 and 1555 are SQLITE_CONSTRAINT_UNIQUE and _PRIMARYKEY.
            "23505" | "2067" | "1555" => Self::Duplicate,
            "XXA00" => Self::Committed,
            code if code.len() == 5 && code.starts_with("08") => Self::Lost,
            code if code.len() == 5 && code.starts_with("23") => Self::Constraint,
            code if code.len() == 5 && code.starts_with("22") => Self::Data,
            code if is_sqlite_constraint(code) => Self::Constraint,
            _ => Self::Other,
        }
    }
}

/// The low byte of SQLite's extended codes is the primary code; 19 is SQLITE_CONSTRAINT.
fn is_sqlite_constraint(code: &str) -> bool {
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 19)
}

/// Errors that the driver reports of the link rather than the server of a statement.
fn is_link(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) {
        return true;
    }
    matches!(
        driver_error(error),
        Some(
            sqlx::Error::Io(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::PoolTimedOut
        )
    )
}
