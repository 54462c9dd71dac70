//! Observers: the events of runs and attempts.

use std::time::Duration;

use sea_orm::Statement;
use tracing::Span;

use crate::{Attempt, Kind};

/// Receives the events of a runner's runs, attempts and statements. Its methods are called while a
/// run waits, so they should return at once. A run whose future is dropped does not end for the
/// observer.
#[expect(unused_variables, reason = "the names are for those who implement it")]
pub trait Observer: Send + Sync {
    /// A run begins.
    fn run_began(&self, name: &'static str) {}

    /// A statement of a body begins. The statement is awaited in the returned span. If several
    /// observers return an enabled span, the first one's is used.
    fn statement_began(&self, statement: &Statement) -> Span {
        Span::none()
    }

    /// An attempt has ended, or a restart from the savepoint begins.
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {}

    /// A run has ended.
    fn run_ended(&self, run: &RunEnded) {}
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttemptEnded<'a> {
    /// The run's name.
    pub name: &'static str,
    /// The number of the attempt in its run; the first is 1.
    pub number: u32,
    /// Why it failed; `None` if it did not, or if the body returned an error of its own.
    pub failure: Option<&'a Attempt>,
    /// The pause before the next attempt; `None` if there is no next attempt.
    pub retry_in: Option<Duration>,
}

/// A run that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RunEnded {
    /// The run's name.
    pub name: &'static str,
    /// `Ok` if it is applied, or had nothing to apply. [`Kind::Failed`] also if its body returned
    /// an error of its own.
    pub outcome: Result<(), Kind>,
    /// How many attempts it took.
    pub attempts: u32,
    /// How long it took, pauses included.
    pub took: Duration,
    /// How much of that was pauses.
    pub paused: Duration,
}
