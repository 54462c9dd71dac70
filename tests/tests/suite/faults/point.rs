//! The points of the protocol, and how each is known on the wire.

use tests::{Kind, Request};

/// Ends the text of a body's first statement; a comment, so that it is seen on the wire and means nothing.
pub(super) const FIRST: &str = "/* first */";
/// Ends the text of its second.
pub(super) const SECOND: &str = "/* second */";
/// Ends the text of the statement that is a transaction by itself.
pub(super) const SINGLE: &str = "/* single */";

/// Ends the text of the look-up that follows it.
pub(super) const LOOK_UP: &str = "/* look-up */";

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Point {
    /// A session is asked for.
    Connect,
    /// The text that sets it up.
    SetUp,
    /// BEGIN.
    Begin,
    /// `SAVEPOINT cockroach_restart`.
    Savepoint,
    /// The body's first statement, prepared before.
    First,
    /// The second one's preparation.
    Prepare,
    /// The second one.
    Second,
    /// `RELEASE SAVEPOINT cockroach_restart`, which commits.
    Release,
    /// COMMIT, without a savepoint.
    Commit,
    /// COMMIT after that RELEASE.
    Closing,
    /// `ROLLBACK TO SAVEPOINT cockroach_restart`, after a conflict.
    RollbackTo,
    /// ROLLBACK after an error of the body.
    Rollback,
    /// ROLLBACK after a conflict, before another attempt.
    Again,
    /// One autocommitted statement.
    Single,
    /// The look-up after it.
    LookUp,
}

/// The points by the names of their columns.
const COLUMNS: [(&str, Point); 15] = [
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
];

impl Point {
    pub(super) fn of_column(name: &str) -> Self {
        COLUMNS.iter().find(|(it, _)| *it == name).map(|(_, point)| *point).expect("a point's name")
    }

    /// Its name in the table of results.
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

    /// Whether it is there only under CockroachDB's savepoint protocol.
    pub(super) fn needs_savepoint(self) -> bool {
        matches!(self, Self::Savepoint | Self::Release | Self::Closing | Self::RollbackTo)
    }

    /// Whether the transaction is one autocommitted statement.
    pub(super) fn is_without_begin(self) -> bool {
        matches!(self, Self::Single | Self::LookUp)
    }

    /// Whether a request is this point.
    pub(super) fn is(self, request: &Request) -> bool {
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
        }
    }
}
