//! What a run remembers from attempt to attempt, and what it comes to in the end.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use crate::tx::{Before, no_answer};
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
    started: Instant,
    pub(crate) failed: Attempts,
    /// The error that left an attempt unknown, until a later attempt proves what became of it.
    pub(crate) unknown: Option<DbErr>,
    /// Whether an attempt's session may still be open on the server.
    pub(crate) orphaned: bool,
    /// How to end such sessions, where that can be done.
    pub(crate) orphans: Vec<String>,
    /// The verdicts that are worth one more attempt and have had it.
    spent: Vec<Verdict>,
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
        self.0.push(Attempt { phase: failure.phase, error: failure.error, class: failure.class });
    }
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            failed: Attempts::default(),
            unknown: None,
            orphaned: false,
            orphans: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Which attempt is going on; the first is 1.
    fn attempt(&self) -> u32 {
        u32::try_from(self.failed.0.len()).map_or(u32::MAX, |failed| failed.saturating_add(1))
    }

    /// What the attempt that goes on may know of those before it.
    pub(crate) fn before(&self) -> Before {
        Before {
            attempt: self.attempt(),
            unknown: self.unknown.is_some(),
            key_taken: self.spent.contains(&Verdict::LookUp),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn orphan_left(&mut self, session: Option<String>) {
        self.orphaned = true;
        self.orphans.extend(session);
    }

    /// Notes a failed attempt and says how it ended. `refused_body` is what the body made of the database's error;
    /// `can_look_up` whether the body finds out by itself what became of an earlier attempt.
    pub(crate) fn ended<T, E>(
        &mut self,
        failure: Failure,
        refused_body: Option<E>,
        can_look_up: bool,
    ) -> Ending<T, E> {
        let verdict = failure.verdict();
        let error = failure.error.clone();
        self.failed.push(failure);
        match verdict {
            Verdict::Unknown => {
                self.unknown.get_or_insert(error);
                Ending::Unknown
            }
            Verdict::Retry | Verdict::RetryOnNewConnection => Ending::Again,
            Verdict::RetryOnceOnNewConnection if self.first_time(verdict) => Ending::Again,
            Verdict::LookUp if can_look_up && self.first_time(verdict) => Ending::Again,
            Verdict::RetryOnceOnNewConnection | Verdict::LookUp | Verdict::Fail | Verdict::Committed => {
                let attempts = self.failed.clone();
                Ending::Failed(Error::Database { error, body: refused_body, attempts })
            }
        }
    }

    fn first_time(&mut self, verdict: Verdict) -> bool {
        let first = !self.spent.contains(&verdict);
        self.spent.push(verdict);
        first
    }

    /// What a run comes to that is not applied and has no attempts left.
    pub(crate) fn into_error<E>(self) -> Error<E> {
        let attempts = self.failed;
        match self.unknown {
            Some(first) => Error::Unknown { first, attempts },
            None => {
                let first =
                    attempts.0.first().map_or_else(|| no_answer(self.started.elapsed()), |a| a.error.clone());
                Error::RetriesExhausted { first, attempts }
            }
        }
    }
}
