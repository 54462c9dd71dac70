//! What the runs of a runner came to, counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::sqlstate;
use sea_orm::DbErr;

/// Counts since a runner was made. Clones of a runner count together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions begun, whatever became of them.
    pub transactions: u64,
    /// Attempts, the first of each transaction and restarts from a savepoint included.
    pub attempts: u64,
    /// Attempts after the first, savepoint restarts included.
    pub retries: u64,
    /// Why: retries by SQLSTATE, or by `no answer`.
    pub retries_by_sqlstate: BTreeMap<String, u64>,
    /// Transactions whose outcome stayed unknown.
    pub unknown: u64,
    /// Time spent in pauses between attempts.
    pub paused: Duration,
}

impl Counts {
    /// What was added since these were `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let retries = |(code, count): (&String, &u64)| {
            let added = count - before.retries_by_sqlstate.get(code).copied().unwrap_or_default();
            (added > 0).then(|| (code.clone(), added))
        };
        Self {
            transactions: self.transactions - before.transactions,
            attempts: self.attempts - before.attempts,
            retries: self.retries - before.retries,
            retries_by_sqlstate: self.retries_by_sqlstate.iter().filter_map(retries).collect(),
            unknown: self.unknown - before.unknown,
            paused: self.paused - before.paused,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats(Mutex<Counts>);

impl Stats {
    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt that begins at a savepoint, and so not by itself.
    pub(crate) fn restart(&self, cause: &DbErr) {
        self.counts().attempts += 1;
        self.retry(cause, Duration::ZERO);
    }

    pub(crate) fn retry(&self, cause: &DbErr, pause: Duration) {
        let mut counts = self.counts();
        counts.retries += 1;
        counts.paused += pause;
        let code = sqlstate(cause).unwrap_or("no answer".into()).into_owned();
        *counts.retries_by_sqlstate.entry(code).or_default() += 1;
    }
}
