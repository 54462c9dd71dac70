//! The points of the protocol, and how to recognise them on the wire.

use tests::{Kind, Request};

/// A comment that marks a body's first statement on the wire.
pub(super) const FIRST: &str = "/* first */";
/// Marks its second statement.
pub(super) const SECOND: &str = "/* second */";
/// Marks a statement that is a whole transaction.
pub(super) const SINGLE: &str = "/* single */";

/// Marks the lookup after it.
pub(super) const LOOK_UP: &str = "/* look-up */";

/// The point at which a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Point {
    Connect,
    SetUp,
    Begin,
    Savepoint,
    First,
    Prepare,
    Second,
    /// RELEASE, which commits.
    Release,
    /// COMMIT without a savepoint.
    Commit,
    /// COMMIT after the RELEASE.
    Closing,
    /// ROLLBACK TO SAVEPOINT, after a conflict.
    RollbackTo,
    /// ROLLBACK after an error of the body.
    Rollback,
    /// ROLLBACK after a conflict, before the next attempt.
    Again,
    Single,
    LookUp,
    /// A chunk's first statement.
    OwnRow,
    Accounts,
    /// Sent because an order would be refused.
    Ids,
    Journal,
    Balances,
    Refusals,
}

/// The points by column of the table.
const COLUMNS: [(&str, Point); 21] = [
    ("connect", Point::Connect),
    ("set-up", Point::SetUp),
    ("BEGIN", Point::Begin),
    ("SAVEPOINT", Point::Savepoint),
    ("first", Point::First),
    ("prepare", Point::Prepare),
    ("second", Point::Second),
    ("RELEASE", Point::Release),
    ("COMMIT", Point::Commit),
    ("closing", Point::Closing),
    ("ROLLBACK-TO", Point::RollbackTo),
    ("ROLLBACK", Point::Rollback),
    ("again", Point::Again),
    ("single", Point::Single),
    ("look-up", Point::LookUp),
    ("own-row", Point::OwnRow),
    ("accounts", Point::Accounts),
    ("ids", Point::Ids),
    ("journal", Point::Journal),
    ("balances", Point::Balances),
    ("refusals", Point::Refusals),
];

impl Point {
    pub(super) fn of_column(name: &str) -> Self {
        COLUMNS.iter().find(|(it, _)| *it == name).map(|(_, point)| *point).expect("a point's name")
    }

    /// Its name in the printed results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closing => "COMMIT after RELEASE",
            Self::Again => "ROLLBACK after conflict",
            Self::Rollback => "ROLLBACK after body error",
            Self::First => "first statement",
            Self::Prepare => "second statement, prepare",
            Self::Second => "second statement",
            Self::Single => "autocommitted statement",
            Self::LookUp => "look-up after it",
            Self::SetUp => "session set-up",
            other => COLUMNS.iter().find(|(_, it)| *it == other).map(|(name, _)| *name).expect("a column"),
        }
    }

    /// Whether only CockroachDB's savepoint protocol has it.
    pub(super) fn needs_savepoint(self) -> bool {
        matches!(self, Self::Savepoint | Self::Release | Self::Closing | Self::RollbackTo)
    }

    /// Whether the transaction is an autocommitted statement.
    pub(super) fn is_without_begin(self) -> bool {
        matches!(self, Self::Single | Self::LookUp)
    }

    pub(super) fn is(self, request: &Request) -> bool {
        let begins = |start| request.kind == Kind::Execute && request.starts_with(start);
        let runs = |mark| request.kind == Kind::Execute && request.text.ends_with(mark);
        match self {
            Self::Connect => request.kind == Kind::Startup,
            Self::SetUp => request.text.contains("default_transaction_isolation"),
            Self::Begin => request.starts_with("BEGIN"),
            Self::Savepoint => request.starts_with("SAVEPOINT"),
            Self::First => runs(FIRST),
            Self::Prepare => request.kind == Kind::Prepare && request.text.ends_with(SECOND),
            Self::Second => runs(SECOND),
            Self::Release => request.starts_with("RELEASE"),
            Self::Commit | Self::Closing => request.commits(),
            Self::RollbackTo => request.starts_with("ROLLBACK TO"),
            Self::Rollback | Self::Again => request.text == "ROLLBACK",
            Self::Single => runs(SINGLE),
            Self::LookUp => runs(LOOK_UP),
            Self::OwnRow => begins("INSERT INTO \"batches\""),
            Self::Accounts => begins("SELECT id, balance FROM accounts"),
            Self::Ids => begins("SELECT id, source_id") || begins("SELECT t.id, source_id"),
            Self::Journal => begins("INSERT INTO transfers"),
            Self::Balances => begins("UPDATE accounts"),
            Self::Refusals => begins("INSERT INTO batches"),
        }
    }
}
