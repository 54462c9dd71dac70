//! An observer that counts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use sea_orm_retry::{AttemptEnded, Kind, Observer, RunEnded};

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) transactions: u64,
    pub(crate) attempts: u64,
    pub(crate) retries: u64,
    /// By SQLSTATE; without one by its cause.
    pub(crate) retries_by_sqlstate: BTreeMap<String, u64>,
    pub(crate) unknown: u64,
    pub(crate) paused: Duration,
}

#[derive(Default)]
pub(crate) struct Counter(Mutex<Counts>);

impl Counter {
    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().expect("no panic").clone()
    }
}

impl Observer for Counter {
    fn run_began(&self, _: &'static str) {
        self.0.lock().expect("no panic").transactions += 1;
    }

    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let mut counts = self.0.lock().expect("no panic");
        counts.attempts += 1;
        if let Some(pause) = attempt.retry_in {
            counts.retries += 1;
            counts.paused += pause;
            let cause = attempt.failure.map(|failure| failure.cause().into_owned()).unwrap_or_default();
            *counts.retries_by_sqlstate.entry(cause).or_default() += 1;
        }
    }

    fn run_ended(&self, run: &RunEnded) {
        self.0.lock().expect("no panic").unknown += u64::from(run.outcome == Err(Kind::Unknown));
    }
}
