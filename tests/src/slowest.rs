//! Lists the slowest tests of a run.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many are printed.
const PRINTED: usize = 5;

/// Collects the tests' durations.
#[derive(Clone, Default)]
pub(crate) struct Slowest(Arc<Mutex<Vec<(Duration, String)>>>);

impl Slowest {
    pub(crate) fn time<T>(&self, name: &str, test: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = test();
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((began.elapsed(), name.to_owned()));
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.truncate(PRINTED);
        result
    }

    /// The slowest tests, one per line.
    pub(crate) fn text(&self) -> String {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().fold("slowest:".to_owned(), |mut text, (took, name)| {
            let _ = write!(text, "\n  {:>6.1} s  {name}", took.as_secs_f64());
            text
        })
    }
}
