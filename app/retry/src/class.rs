//! Classifies errors by what their server reports. The only place that knows SQLSTATEs.

use std::borrow::Cow;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use sqlx::error::DatabaseError;

/// CockroachDB: a cluster of several nodes without a licence is throttled.
const NO_LICENCE: &str = "XXC02";

/// What an error says about its statement. Decided by the code and by who reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Serialization failure, deadlock, SQLite's busy family, and those of PostgreSQL's internal
    /// errors (XX000) that report a concurrent transaction: the server has given this one up.
    Conflict,
    /// The connection broke, the server is leaving or not ready, a deadline passed, a statement's
    /// future was dropped; or 40003, with which the server itself does not know.
    Lost,
    /// 25006: the server is read-only, for example after a switchover.
    ReadOnly,
    /// 0A000, 26000 and 42P05: a statement prepared on this connection no longer fits, is gone, or
    /// has a name that is taken.
    Stale,
    /// A unique constraint: perhaps the transaction's own id, written by its own earlier attempt.
    Duplicate,
    /// Another constraint: class 23.
    Constraint,
    /// Nothing could be done: an aborted transaction (25P02), no such savepoint (3B001), SQLite's
    /// full disk.
    Aborted,
    /// At COMMIT: XXA00, CockroachDB's "the transaction is committed, a schema change in it
    /// failed".
    Committed,
    /// A parser, a type or a rights check refused: classes 22, 25, 28, 2B, 3D, 3F, 42, 54. The
    /// statement did nothing.
    Definite,
    /// The driver itself refused: a value that it cannot encode, too many parameters. Nothing was
    /// carried out.
    Driver,
    /// The server's internal errors, classes 57P, 58 and XX: at COMMIT the outcome is unknown.
    Internal,
    /// Any other error.
    Other,
}

impl Class {
    /// Classifies an error.
    pub fn of(error: &DbErr) -> Self {
        match driver_error(error) {
            Some(sqlx::Error::Database(error)) => of_report(error.as_ref())
                .unwrap_or_else(|| error.code().map_or(Self::Other, |code| Self::of_code(&code))),
            Some(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut) => Self::Lost,
            Some(sqlx::Error::PoolClosed) => Self::Other,
            Some(_) => Self::Driver,
            None if matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) => Self::Lost,
            None => Self::Other,
        }
    }

    /// Classifies a code: five characters are a SQLSTATE, fewer are SQLite's extended result code
    /// in decimal.
    pub fn of_code(code: &str) -> Self {
        match code {
            "40001" | "40P01" | "CR000" => Self::Conflict,
            // SQLITE_BUSY, _SNAPSHOT, _RECOVERY, _TIMEOUT; SQLITE_LOCKED, _SHAREDCACHE
            "5" | "517" | "261" | "773" | "6" | "262" => Self::Conflict,
            "40003" | "53300" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" => {
                Self::Lost
            }
            // CockroachDB: a range that lost its copies, a connection between its nodes, an inner
            // error without a code (v20.2 after a node died), a throttled cluster without a
            // licence.
            "58C00" | "58C01" | "XXUUU" | NO_LICENCE => Self::Lost,
            "25006" => Self::ReadOnly,
            "0A000" | "26000" | "42P05" => Self::Stale,
            // SQLITE_FULL is 13.
            "25P02" | "3B001" | "13" => Self::Aborted,
            // SQLITE_CONSTRAINT_UNIQUE and _PRIMARYKEY
            "23505" | "2067" | "1555" => Self::Duplicate,
            "XXA00" => Self::Committed,
            code if code.len() == 5 => match &code[..2] {
                "08" => Self::Lost,
                "23" => Self::Constraint,
                "22" | "25" | "28" | "2B" | "3D" | "3F" | "42" | "54" => Self::Definite,
                "58" | "XX" => Self::Internal,
                _ if code.starts_with("57P") => Self::Internal,
                _ => Self::Other,
            },
            // The low byte of SQLite's extended codes is the primary code; 19 is SQLITE_CONSTRAINT.
            code if code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 19) => {
                Self::Constraint
            }
            _ => Self::Other,
        }
    }

    /// Whether ROLLBACK TO a savepoint undoes it. Everything else ends the attempt.
    pub(crate) fn ends_at_savepoint(self) -> bool {
        matches!(self, Self::Duplicate | Self::Constraint | Self::Definite | Self::Driver | Self::Other)
    }
}

/// Whether a prepared statement belongs to another session: it is missing, or its name is taken.
pub(crate) fn is_mixed_up(error: &DbErr) -> bool {
    matches!(sqlstate(error).as_deref(), Some("26000" | "42P05"))
}

/// What the rest of PostgreSQL's report says, where its code leaves the class open. Not after FATAL,
/// which ends the session.
fn of_report(error: &dyn DatabaseError) -> Option<Class> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        && error.severity() == sqlx::postgres::PgSeverity::Error
    {
        // PostgreSQL does not translate internal errors.
        let concurrent = error.message().starts_with("tuple concurrently ");
        return match (error.code(), error.routine().unwrap_or_default()) {
            // "bind message supplies 1 parameters, but …"
            ("08P01", _) => Some(Class::Driver),
            // "new multixact has more than one updating member": one that aborts is still listed as
            // running (multixact.c).
            ("XX000", "MultiXactIdCreateFromMembers") => Some(Class::Conflict),
            // "tuple concurrently updated", "… deleted": for example, two grants on one object. The
            // same functions report mistakes of the transaction itself (heapam.c).
            ("XX000", "simple_heap_update" | "simple_heap_delete") if concurrent => Some(Class::Conflict),
            _ => None,
        };
    }
    let _ = error;
    None
}

/// Whether the server does not know a setting.
pub(crate) fn is_unknown_setting(error: &DbErr) -> bool {
    sqlstate(error).as_deref() == Some("42704")
}

/// The code of an error that a database sent: a five-character SQLSTATE from PostgreSQL and
/// CockroachDB, an extended result code in decimal (`"5"`, `"517"`) from SQLite; `None` where the
/// error is not the database's.
pub fn sqlstate(error: &DbErr) -> Option<Cow<'_, str>> {
    driver_error(error)?.as_database_error()?.code()
}

/// The words of the database or the driver, on one line and without SeaORM's wrapping; with what to
/// do, where they do not say it.
pub fn reason(error: &DbErr) -> String {
    let text = match (driver_error(error), error) {
        (Some(sqlx::Error::Database(error)), _) => error.message().to_owned(),
        (Some(driver), _) => driver.to_string(),
        (None, DbErr::Custom(text)) => text.clone(),
        (None, error) => error.to_string(),
    };
    let remedy = match sqlstate(error).as_deref() {
        Some(NO_LICENCE) => {
            ": the cluster has no licence and is throttled: install one by SET CLUSTER SETTING enterprise.license"
        }
        _ => "",
    };
    text.replace('\n', " ") + remedy
}

/// The driver's error behind a [`DbErr`], where there is one.
pub fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e),
        _ => None,
    }
}
