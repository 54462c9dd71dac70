//! Counts of the bank's transactions.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm_retry::{AttemptEnded, Kind, Observer, RunEnded};

/// Counts runs, attempts and retries.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<Counts>);

/// The counts of a bank's transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs begun.
    pub transactions: u64,
    /// Attempts ended, restarts from a savepoint included.
    pub attempts: u64,
    /// Attempts that were followed by another.
    pub retries: u64,
    /// Retries by SQLSTATE; without one by `conflict` after
    /// [`Tx::again`](sea_orm_retry::Tx::again), and by `no answer` if the connection was lost.
    pub retries_by_sqlstate: BTreeMap<String, u64>,
    /// Runs whose outcome stayed unknown.
    pub unknown: u64,
    /// Pauses between attempts.
    pub paused: Duration,
}

impl Counts {
    /// The difference to an earlier count.
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

impl Counter {
    /// The counts so far.
    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Counter {
    fn run_began(&self, _: &'static str) {
        self.lock().transactions += 1;
    }

    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let mut counts = self.lock();
        counts.attempts += 1;
        if let Some(pause) = attempt.retry_in {
            counts.retries += 1;
            counts.paused += pause;
            let cause = attempt.failure.map(|failure| failure.cause().into_owned()).unwrap_or_default();
            *counts.retries_by_sqlstate.entry(cause).or_default() += 1;
        }
    }

    fn run_ended(&self, run: &RunEnded) {
        self.lock().unknown += u64::from(run.outcome == Err(Kind::Unknown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_leaves_out_what_was_counted_before() {
        let counts = |of: u64, codes: &[(&str, u64)]| Counts {
            transactions: 5 * of,
            attempts: 7 * of,
            retries: 3 * of,
            retries_by_sqlstate: codes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            unknown: 2 * of,
            paused: Duration::from_secs(of),
        };
        let before = counts(1, &[("40001", 2), ("40P01", 1)]);
        let now = counts(10, &[("40001", 5), ("40P01", 1), ("conflict", 4)]);
        assert_eq!(now.since(&before), counts(9, &[("40001", 3), ("conflict", 4)]));
    }
}
