//! What a run remembers from attempt to attempt, and what it comes to in the end.

use std::time::{Duration, Instant};

use sea_orm::DbErr;

use crate::tx::no_answer;
use crate::{Attempt, Attempts, Class, Error, Phase, Verdict, decide};

/// How one attempt ended.
pub(crate) enum Ending<T, E> {
    /// It is applied, or had nothing left to apply.
    Applied(T),
    /// Nothing of it is applied, and another would end the same.
    Failed(Error<E>),
    /// Nothing of it is applied; another may succeed.
    Again,
    /// It may be applied, or may yet be.
    Unknown,
}

impl<T, E> Ending<T, E> {
    /// Its name in events.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Failed(_) => "failed",
            Self::Again => "again",
            Self::Unknown => "unknown",
        }
    }
}

/// What a run remembers from attempt to attempt.
pub(crate) struct Run {
    pub(crate) started: Instant,
    pub(crate) failed: Attempts,
    /// The error that left an attempt unknown, until a later attempt proves what became of it.
    pub(crate) unknown: Option<DbErr>,
    /// Whether an attempt's session may still be open on the server, and how to end it.
    pub(crate) orphaned: bool,
    pub(crate) orphan: Option<String>,
    stale_plan_seen: bool,
}

/// A failed step of an attempt.
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) error: DbErr,
    pub(crate) class: Class,
}

impl Failure {
    pub(crate) fn verdict(&self) -> Verdict {
        decide(self.phase, self.class)
    }
}

impl Attempts {
    pub(crate) fn push(&mut self, failure: Failure) {
        self.0.push(Attempt { phase: failure.phase, error: failure.error });
    }
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            failed: Attempts::default(),
            unknown: None,
            orphaned: false,
            orphan: None,
            stale_plan_seen: false,
        }
    }

    pub(crate) fn orphan_left(&mut self, session: Option<String>) {
        self.orphaned = true;
        self.orphan = session;
    }

    /// Notes a failed attempt and says how it ended. `refused_body` is what the body made of the database's error.
    pub(crate) fn ended<T, E>(&mut self, failure: Failure, refused_body: Option<E>) -> Ending<T, E> {
        let stale_plan_again =
            failure.class == Class::StalePlan && std::mem::replace(&mut self.stale_plan_seen, true);
        let verdict = failure.verdict();
        let error = failure.error.clone();
        self.failed.push(failure);
        match verdict {
            Verdict::Unknown => {
                self.unknown.get_or_insert(error);
                Ending::Unknown
            }
            Verdict::Retry | Verdict::RetryOnNewConnection if !stale_plan_again => Ending::Again,
            _ => Ending::Failed(match refused_body {
                Some(error) => Error::Body(error),
                None => Error::Database { error, attempts: std::mem::take(&mut self.failed) },
            }),
        }
    }

    /// What a run comes to that is not applied and has no attempts left.
    pub(crate) fn into_error<E>(self) -> Error<E> {
        let attempts = self.failed;
        match self.unknown {
            Some(first) => Error::Unknown { first, attempts },
            None => {
                let first = attempts.0.first().map_or_else(|| no_answer(Duration::ZERO), |a| a.error.clone());
                Error::RetriesExhausted { first, attempts }
            }
        }
    }
}
