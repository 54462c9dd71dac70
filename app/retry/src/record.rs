//! The record of an attempt's statements: errors that end the attempt, and errors that a savepoint
//! undoes.

use futures_util::stream::BoxStream;
use sea_orm::{DbErr, QueryResult};

use crate::Class;

/// An error and what it means.
pub(crate) type Failure = (DbErr, Class);

/// The rows of a stream, owned.
pub(crate) type OwnedRows = BoxStream<'static, Result<QueryResult, Failure>>;

/// What a body proved about earlier attempts of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// An earlier attempt or an earlier run has applied it. This attempt changes nothing.
    Applied,
    /// No earlier attempt is applied, and none ever will be.
    NotApplied,
}

/// A nested transaction that is open.
pub(crate) struct Savepoint {
    pub(crate) number: u32,
    /// Its first error.
    pub(crate) failure: Option<Failure>,
    /// Whether its handle was dropped without commit or rollback.
    pub(crate) dropped: bool,
}

/// The record of an attempt's statements.
#[derive(Default)]
pub(crate) struct Record {
    /// The first error that ends the attempt. Nothing is sent after it, and it is repeated.
    pub(crate) failure: Option<Failure>,
    /// The last error that a savepoint undid.
    pub(crate) undone: Option<Failure>,
    /// The open savepoints, outermost first.
    pub(crate) savepoints: Vec<Savepoint>,
    pub(crate) savepoints_begun: u32,
    /// What the body proved about earlier attempts.
    pub(crate) proof: Option<Proof>,
    /// How many statements succeeded.
    pub(crate) answered: u32,
    /// Whether a statement changed the session.
    pub(crate) session_changed: bool,
    /// Whether the body holds a stream of rows.
    pub(crate) streaming: bool,
    /// A stream that the body dropped before its end, and the savepoint it was opened at.
    pub(crate) unread: Option<(OwnedRows, u32)>,
    /// SQLite: an error occurred that may have ended the whole transaction.
    pub(crate) may_be_closed: bool,
}

impl Record {
    /// Records an error that ends the attempt; returns the first such error.
    pub(crate) fn fail(&mut self, failure: Failure) -> DbErr {
        self.failure.get_or_insert(failure).0.clone()
    }

    /// Records a misuse, which ends the attempt.
    pub(crate) fn refuse(&mut self, why: impl Into<String>) -> DbErr {
        self.fail((DbErr::Custom(why.into()), Class::Other))
    }

    /// Records the answer to a statement at a savepoint (0: the transaction itself).
    pub(crate) fn answered<T>(&mut self, savepoint: u32, answer: Result<T, Failure>) -> Result<T, DbErr> {
        match answer {
            Ok(answer) => {
                self.answered += 1;
                self.undone = None;
                Ok(answer)
            }
            Err(failure) => Err(self.statement_failed(savepoint, failure)),
        }
    }

    fn statement_failed(&mut self, savepoint: u32, failure: Failure) -> DbErr {
        self.may_be_closed = true;
        match self.savepoints.iter_mut().find(|it| it.number == savepoint) {
            Some(it) if failure.1.ends_at_savepoint() => it.failure.get_or_insert(failure).0.clone(),
            _ => self.fail(failure),
        }
    }

    /// Refuses a statement while the body holds a stream of rows.
    pub(crate) fn not_streaming(&mut self) -> Result<(), DbErr> {
        let why = "a stream of rows is still open: read it to its end or drop it first";
        if self.streaming { Err(self.refuse(why)) } else { Ok(()) }
    }

    /// Whether a statement may be sent at a savepoint (0: the transaction itself).
    pub(crate) fn permit(&mut self, savepoint: u32) -> Result<(), DbErr> {
        if let Some((error, _)) = &self.failure {
            return Err(error.clone());
        }
        let innermost = self.savepoints.last();
        if innermost.map_or(0, |it| it.number) != savepoint {
            let why = if self.savepoints.iter().any(|it| it.number == savepoint) || savepoint == 0 {
                "a nested transaction is open: commit or roll it back first, and do not run two at once"
            } else {
                "the nested transaction is over"
            };
            return Err(self.refuse(why));
        }
        match innermost.and_then(|it| it.failure.as_ref()) {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The innermost savepoint, if its handle was dropped, or any where `every`.
    pub(crate) fn to_undo(&self, every: bool) -> Option<u32> {
        self.savepoints.last().filter(|it| it.dropped || every).map(|it| it.number)
    }

    /// Closes the innermost savepoint, which is undone.
    pub(crate) fn undone(&mut self) {
        if let Some(Savepoint { failure: Some(failure), .. }) = self.savepoints.pop() {
            self.undone = Some(failure);
        }
    }

    /// Records that ROLLBACK TO or RELEASE of the innermost savepoint failed. The savepoint's first
    /// error ends the attempt, because the code of this one can be anything.
    pub(crate) fn not_undone(&mut self, failure: Failure) -> DbErr {
        let first = self.savepoints.pop().and_then(|it| it.failure);
        let decides = first.filter(|_| failure.1 != Class::Lost).unwrap_or(failure);
        self.fail(decides)
    }

    /// SQLite: records that the transaction is closed. The first error of any savepoint ends the
    /// attempt.
    pub(crate) fn closed_by_itself(&mut self) {
        let first = self.savepoints.drain(..).find_map(|it| it.failure);
        let failure = first.or_else(|| self.undone.take()).unwrap_or_else(|| {
            (DbErr::Custom("the database has ended the transaction".to_owned()), Class::Other)
        });
        self.fail(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> DbErr {
        DbErr::Custom(text.to_owned())
    }

    fn nested() -> Record {
        let savepoint = |number| Savepoint { number, failure: None, dropped: false };
        Record { savepoints: vec![savepoint(1), savepoint(2)], ..Record::default() }
    }

    #[test]
    fn an_error_belongs_to_its_savepoint_or_to_the_attempt() {
        for class in [Class::Duplicate, Class::Constraint, Class::Definite, Class::Driver, Class::Other] {
            let mut record = nested();
            record.statement_failed(2, (error("first"), class));
            assert!(record.failure.is_none(), "{class:?}");
            assert_eq!(record.permit(2), Err(error("first")));
            record.undone();
            assert_eq!(record.permit(1), Ok(()), "{class:?}");
            assert_eq!(record.undone.clone(), Some((error("first"), class)));
        }
        for class in [
            Class::Conflict,
            Class::Lost,
            Class::ReadOnly,
            Class::Stale,
            Class::Aborted,
            Class::Internal,
            Class::Committed,
        ] {
            let mut record = nested();
            record.statement_failed(2, (error("first"), class));
            assert_eq!(record.failure, Some((error("first"), class)));
            assert_eq!(record.permit(1), Err(error("first")), "nothing more is sent");
        }
        let mut record = Record::default();
        record.statement_failed(0, (error("first"), Class::Duplicate));
        assert_eq!(record.permit(0), Err(error("first")), "outside a savepoint every error ends the attempt");
    }

    #[test]
    fn a_rollback_to_that_fails_is_judged_by_the_first_error() {
        let mut record = nested();
        record.statement_failed(2, (error("first"), Class::Other));
        assert_eq!(record.not_undone((error("second"), Class::Stale)), error("first"));
        assert_eq!(record.failure, Some((error("first"), Class::Other)));
        let mut record = nested();
        record.statement_failed(2, (error("first"), Class::Other));
        record.not_undone((error("link"), Class::Lost));
        assert_eq!(record.failure, Some((error("link"), Class::Lost)), "a lost connection is lost");
        let mut record = nested();
        record.not_undone((error("only"), Class::Conflict));
        assert_eq!(record.failure, Some((error("only"), Class::Conflict)));
    }

    #[test]
    fn statements_are_sent_at_the_innermost_savepoint_only() {
        let mut record = nested();
        assert_eq!(record.permit(2), Ok(()));
        assert!(record.permit(1).is_err());
        assert!(record.failure.is_some(), "it is a mistake of the program, not of one statement");
        let mut record = nested();
        assert!(record.permit(7).is_err_and(|error| error.to_string().contains("is over")));
    }
}
