//! Errors of the bank as one line, a kind and an exit code.

use std::borrow::Cow;
use std::fmt::Display;

use crate::bank::Error;
use database::{UNLICENSED, reason, sqlstate};
use sea_orm::DbErr;
use sea_orm_retry::Class;
use terminal::{CommandLine, Exit, Failure};

use crate::bank::ReadError;
use crate::bank::load::LoadError;
use crate::bank::transfer::{DrawError, Refusal, TransferError};

/// `body` maps the body's own error; `settle` is the command that settles an unknown outcome.
pub(super) fn transaction<E: Display>(
    error: &Error<E>,
    settle: &str,
    body: impl FnOnce(&E) -> Failure,
) -> Failure {
    match error {
        Error::Body(error) => body(error),
        Error::Database { error, .. } => of_database(error),
        Error::RetriesExhausted(_) if error.last().is_some_and(is_throttled) => {
            Failure::new(Exit::Failed, THROTTLED, format!("{error}; nothing of it is applied: {UNLICENSED}"))
        }
        Error::RetriesExhausted { .. } => Failure::new(
            Exit::Failed,
            "retries_exhausted",
            format!(
                "{error}; nothing of it is applied: try again, or allow more with --max-attempts and --retry-for"
            ),
        ),
        error if error.may_be_applied() => {
            Failure::new(Exit::Unknown, "unknown", format!("{error}; to settle it run `{settle}`"))
        }
        other => Failure::new(Exit::Failed, "failed", other.to_string()),
    }
}

/// The kind of a CockroachDB cluster without a licence.
const THROTTLED: &str = "throttled";

fn is_throttled(error: &DbErr) -> bool {
    sqlstate(error).as_deref() == Some("XXC02")
}

/// The database's error, and a remedy.
pub(super) fn of_database(error: &DbErr) -> Failure {
    let migrate = || format!("run `{}`", CommandLine::migrate("up"));
    let (kind, remedy): (_, Cow<'_, str>) = match sqlstate(error).as_deref() {
        // SQLITE_FULL; disk_full
        Some("13" | "53100") => {
            ("disk_full", "free some space on the database's disk, then run it again".into())
        }
        // SQLITE_READONLY and its extensions; read_only_sql_transaction
        Some("8" | "264" | "520" | "776" | "1032" | "1288" | "1544" | "25006") => {
            ("read_only", "give a --database-url that can be written".into())
        }
        // A pooler in transaction mode loses prepared statements.
        Some("26000" | "42P05") => (
            "pooler",
            "a pooler shares its sessions: set pool_mode = session there, or give the host and port of the server itself".into(),
        ),
        // CockroachDB v22.1-dev lets a user create a database but not grant rights on it.
        Some("42501" | "01007" | "0LP01") => ("denied", "ask the database's owner for the rights".into()),
        Some("42P01") => ("not_migrated", migrate().into()),
        Some("3D000") => ("no_database", "create it, or give another --database-url".into()),
        Some(QUERY_CANCELED) => {
            ("statement_timeout", "run it again when the server has less to do".into())
        }
        // OperatorIntervention: CockroachDB's schema_locked.
        Some("57000") => ("schema_locked", SCHEMA_LOCKED.into()),
        Some("XXC02") => (THROTTLED, UNLICENSED.into()),
        _ if Class::of(error) == Class::Lost => {
            ("lost", "check that the server is up, then run it again".into())
        }
        _ => ("database", "see what was sent with --echo".into()),
    };
    let exit = match kind {
        "lost" => {
            let line = format!("the connection to the database is lost: {}: {remedy}", reason(error));
            return Failure::new(Exit::NoDatabase, kind, line);
        }
        "not_migrated" | "no_database" => Exit::NoDatabase,
        _ => Exit::Failed,
    };
    Failure::new(exit, kind, format!("the database refused: {}: {remedy}", reason(error)))
}

/// CockroachDB's and PostgreSQL's SQLSTATE of a cancelled statement or a timeout.
const QUERY_CANCELED: &str = "57014";

pub(super) const CHUNK_TIMEOUT: &str = "chunk_timeout";

/// The server's message names the table.
pub(super) const SCHEMA_LOCKED: &str =
    "unlock that table (ALTER TABLE … SET (schema_locked = false)), then run it again";

pub(super) fn reading(error: &ReadError) -> Failure {
    transaction(error, "", of_database)
}

pub(super) fn loading(error: &Error<LoadError>, settle: &str) -> Failure {
    // COPY obeys the statement timeout since CockroachDB v23.1.
    if let Error::Database { error, .. } = error
        && sqlstate(error).as_deref() == Some(QUERY_CANCELED)
    {
        let line = format!(
            "the database gave up a chunk that took longer than its limit for a statement: {}: give a smaller --chunk",
            reason(error)
        );
        return Failure::new(Exit::Failed, CHUNK_TIMEOUT, line);
    }
    transaction(error, settle, |error| match error {
        LoadError::SizeChanged(_) => Failure::new(Exit::Failed, "run_conflict", error.to_string()),
        LoadError::Rejected(_) => Failure::new(Exit::Failed, "rejected", error.to_string()),
        LoadError::Unwritable(_) => Failure::new(Exit::Failed, "unwritable", error.to_string()),
        LoadError::Database(error) => of_database(error),
    })
}

pub(super) fn transferring(error: &TransferError, settle: &str) -> Failure {
    transaction(error, settle, |refusal| match refusal {
        Refusal::Database(error) => of_database(error),
        other => refused(other),
    })
}

pub(super) fn refused(refusal: &Refusal) -> Failure {
    let remedy = match refusal {
        Refusal::UnknownAccount(_) => format!(": `{}` lists those there are", CommandLine::new("accounts")),
        Refusal::NotTwoBalances(_) => format!(": run `{}`", CommandLine::new("audit")),
        _ => String::new(),
    };
    Failure::new(Exit::Failed, refusal.kind(), format!("{refusal}{remedy}"))
}

pub(super) fn drawing(error: &DrawError) -> Failure {
    match error {
        DrawError::TooFewAccounts => Failure::new(
            Exit::Failed,
            "too_few_accounts",
            format!("{error}: run `{}` first", CommandLine::new("seed")),
        ),
        DrawError::Read(error) => reading(error),
        DrawError::Panicked(panicked) => Failure::new(Exit::Failed, "panicked", panicked.to_string()),
    }
}
