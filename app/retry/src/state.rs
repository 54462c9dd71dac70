//! What a run remembers from attempt to attempt, and what an attempt came to.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use crate::shared::{Before, no_answer};
use crate::{Attempt, Class, Ended, Id, Kind, Phase, Policy, Session, Verdict};

/// How one attempt ended.
pub(crate) enum Ending<T, E> {
    /// It is applied, or had nothing left to apply.
    Applied(T),
    /// Nothing of it is applied, and another would end the same; with the body's error, if it returned one.
    Failed(Option<E>),
    /// Nothing of it is applied; another may succeed. With the body's error, if it returned one.
    Again(Option<E>),
    /// It may be applied, or may still be.
    Unknown,
}

impl<T, E> Ending<T, E> {
    /// Its name in events.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Failed(_) => "failed",
            Self::Again(_) => "again",
            Self::Unknown => "unknown",
        }
    }
}

/// A failed step of an attempt.
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) error: DbErr,
    pub(crate) class: Class,
}

/// What a run remembers from attempt to attempt.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    started: Instant,
    /// Which attempt is going on; the first is 1.
    pub(crate) number: u32,
    pub(crate) failed: Vec<Attempt>,
    pub(crate) paused: Duration,
    /// The error that left an attempt unknown, until a later attempt proves what became of it.
    pub(crate) unknown: Option<DbErr>,
    /// Whether an attempt's transaction may still be open on the server.
    pub(crate) orphaned: bool,
    /// Such transactions, where they can be named.
    pub(crate) orphans: Vec<Id>,
    /// The connection for the next attempt, whose prepared statements were cleared.
    pub(crate) kept: Option<Box<dyn Session>>,
    plans_cleared: bool,
    key_taken: bool,
    /// Whether the policy cannot be kept on the server.
    pub(crate) unsupported: bool,
}

impl Run {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            started: Instant::now(),
            number: 0,
            failed: Vec::new(),
            paused: Duration::ZERO,
            unknown: None,
            orphaned: false,
            orphans: Vec::new(),
            kept: None,
            plans_cleared: false,
            key_taken: false,
            unsupported: false,
        }
    }

    /// What the attempt that goes on may know of those before it.
    pub(crate) fn before(&self) -> Before {
        Before { attempt: self.number, unknown: self.unknown.is_some(), key_taken: self.key_taken }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether another attempt may begin after a pause.
    pub(crate) fn may_go_on(&self, policy: &Policy, pause: Duration) -> bool {
        self.number < policy.attempts_max && self.elapsed() + pause < policy.total_time
    }

    /// How many attempts lost to others.
    pub(crate) fn lost(&self) -> u32 {
        let lost = self.failed.iter().filter(|attempt| attempt.class == Class::Conflict).count();
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    pub(crate) fn orphan_left(&mut self, id: Option<Id>) {
        self.orphaned = true;
        self.orphans.extend(id);
    }

    pub(crate) fn push(&mut self, failure: Failure) {
        self.failed.push(Attempt { phase: failure.phase, error: failure.error, class: failure.class });
    }

    /// Whether the prepared statements of this run's connection may be cleared: once.
    pub(crate) fn may_clear_plans(&mut self) -> bool {
        !std::mem::replace(&mut self.plans_cleared, true)
    }

    /// Records a failed attempt and says how it ended. `body`: what the body returned for the database's error.
    /// `idempotent`: whether the body can detect its own earlier attempt.
    pub(crate) fn ended<T, E>(
        &mut self,
        verdict: Verdict,
        failure: Failure,
        body: Option<E>,
        idempotent: bool,
    ) -> Ending<T, E> {
        let error = failure.error.clone();
        self.push(failure);
        match verdict {
            Verdict::Unknown => {
                self.unknown.get_or_insert(error);
                Ending::Unknown
            }
            Verdict::Retry | Verdict::RetryOnNewConnection | Verdict::RetryWithoutPlans => {
                Ending::Again(body)
            }
            Verdict::RetryIfIdempotent if idempotent && !self.key_taken => {
                self.key_taken = true;
                Ending::Again(body)
            }
            Verdict::RetryIfIdempotent | Verdict::Fail | Verdict::Committed => Ending::Failed(body),
        }
    }

    /// What a run comes to that is not applied. `kind` where nothing is unknown; `body`: its last error in words.
    pub(crate) fn into_ended(self, kind: Kind, body: Option<String>) -> Ended {
        let first = |error: Option<&Attempt>| {
            error.map_or_else(|| no_answer(self.started.elapsed()), |attempt| attempt.error.clone())
        };
        match (self.unknown, kind) {
            (Some(unknown), _) => Ended::new(self.name, Kind::Unknown, unknown, body, self.failed),
            (None, Kind::Failed | Kind::Refused) => {
                Ended::new(self.name, kind, first(self.failed.last()), body, self.failed)
            }
            (None, kind) => Ended::new(self.name, kind, first(self.failed.first()), body, self.failed),
        }
    }
}
