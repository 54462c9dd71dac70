//! Outcomes and latencies of transfers, per interval and in total.

use std::ops::AddAssign;
use std::time::Duration;

use crate::bank::Error;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bank::transfer::{By, Receipt, Refusal, TransferError};

/// The longest latency that is distinguished.
const LONGEST: Duration = Duration::from_secs(3600);

/// Outcomes of transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// Applied by this run, or by an earlier call of it.
    pub transfers: u64,
    /// Not applied: insufficient funds.
    pub skipped: u64,
    /// Not applied, for another reason.
    pub failed: u64,
    /// Unknown.
    pub unknown: u64,
    /// Of the transfers, those applied by an earlier call of the run.
    pub already_applied: u64,
}

impl AddAssign for Endings {
    fn add_assign(&mut self, other: Self) {
        self.transfers += other.transfers;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.already_applied += other.already_applied;
    }
}

/// Whether an outcome ends a workload that tolerates no errors.
pub(super) fn is_bad(error: &TransferError) -> bool {
    !matches!(error, Error::Body(Refusal::NothingToMove(_) | Refusal::InsufficientFunds { .. }))
}

/// Outcomes, and the latencies of applied transfers.
#[derive(Clone, Debug)]
pub struct Meter {
    /// The outcomes.
    pub endings: Endings,
    /// The latencies of applied transfers, in microseconds, to three digits.
    pub latencies: Histogram<u64>,
}

impl Default for Meter {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
        Self { endings: Endings::default(), latencies: latencies.expect("the bounds are good") }
    }
}

impl Meter {
    pub(super) fn count(&mut self, outcome: Result<&Receipt, &TransferError>, latency: Duration) {
        let endings = &mut self.endings;
        match outcome {
            Ok(receipt) => {
                endings.transfers += 1;
                endings.already_applied += u64::from(receipt.by == By::EarlierRun);
                self.latencies.saturating_record(latency.as_micros() as u64);
            }
            Err(error) if !is_bad(error) => endings.skipped += 1,
            Err(error) if error.may_be_applied() => endings.unknown += 1,
            Err(_) => endings.failed += 1,
        }
    }

    /// Adds the counts of another and clears it.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.endings += std::mem::take(&mut other.endings);
        self.latencies.add(&other.latencies).expect("they have the same bounds");
        other.latencies.reset();
    }

    /// The latency at a percentile, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1000.0
    }

    /// Whether any transfer was applied.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.latencies.is_empty()
    }

    /// The longest latency, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        self.latencies.max() as f64 / 1000.0
    }
}
