//! What a runner tells those who watch it.

use std::time::Duration;

use sea_orm::DbErr;

use crate::{Kind, Phase, sqlstate};

/// Is told of every run and attempt of a runner. Its methods are called between two statements of a transaction's client, so
/// they should return at once. A run whose future is dropped is not told as ended.
pub trait Observer: Send + Sync {
    /// A run begins.
    fn run_began(&self, name: &'static str) {
        let _ = name;
    }

    /// An attempt has ended, or a restart from the savepoint begins.
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let _ = attempt;
    }

    /// A run has ended.
    fn run_ended(&self, run: &RunEnded) {
        let _ = run;
    }
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttemptEnded<'a> {
    /// The run's name.
    pub name: &'static str,
    /// Which attempt of its run; the first is 1.
    pub number: u32,
    /// What the runner was doing when it failed; `None` where it did not, or where the body failed by itself.
    pub phase: Option<Phase>,
    /// The error it failed with.
    pub error: Option<&'a DbErr>,
    /// The pause before the next attempt; `None` where there is none.
    pub retry_in: Option<Duration>,
}

impl AttemptEnded<'_> {
    /// The code of the error; `None` without an error, or where the connection was lost.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        self.error.and_then(sqlstate).map(|code| code.into_owned())
    }
}

/// A run that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RunEnded {
    /// The run's name.
    pub name: &'static str,
    /// `Ok` where it is applied, or had nothing to apply. [`Kind::Failed`] also where its body refused.
    pub outcome: Result<(), Kind>,
    /// How many attempts it took.
    pub attempts: u32,
    /// How long it took, pauses included.
    pub took: Duration,
    /// How much of that was pauses.
    pub paused: Duration,
}
