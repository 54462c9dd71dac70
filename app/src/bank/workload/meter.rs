//! What transfers took, and how they ended: counted in one interval and in all.

use std::ops::AddAssign;
use std::time::Duration;

use crate::bank::Error;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bank::transfer::{By, Receipt, Refusal, TransferError};

/// The longest time that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// How transfers ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// Applied, by this run or by an earlier call of it.
    pub transfers: u64,
    /// Not applied, for there was not enough money.
    pub skipped: u64,
    /// Not applied, for another reason.
    pub failed: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Of the transfers, those that an earlier call of this run had applied.
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

/// Whether a transfer ended as none should.
pub(super) fn is_bad(error: &TransferError) -> bool {
    !matches!(error, Error::Body(Refusal::NothingToMove(_) | Refusal::InsufficientFunds { .. }))
}

/// Endings, and the latencies of those that were applied, in microseconds.
#[derive(Clone, Debug)]
pub struct Meter {
    /// How many ended how.
    pub endings: Endings,
    /// How long the applied ones took, in microseconds, to three digits.
    pub latencies: Histogram<u64>,
}

impl Default for Meter {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
        Self { endings: Endings::default(), latencies: latencies.expect("the bounds are good") }
    }
}

impl Meter {
    /// Counts one.
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

    /// Adds what another has counted, and clears that.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.endings += std::mem::take(&mut other.endings);
        self.latencies.add(&other.latencies).expect("they have the same bounds");
        other.latencies.reset();
    }

    /// The latency that so many of a hundred were not above, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1000.0
    }

    /// Whether any was applied.
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
