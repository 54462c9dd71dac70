//! The schedule of an open loop.

use std::time::Duration;

/// Later than anybody waits, within a clock's range.
const NEVER: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Transfers at a rate, whether or not earlier ones have ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    /// Transfers a second, above 0.
    pub(super) rate: f64,
    /// How long the rate grows evenly from zero.
    pub(super) ramp: Duration,
}

impl Schedule {
    /// When the transfer with this number is due, after the start.
    pub(super) fn start_of(self, number: u64) -> Duration {
        let (number, ramp) = (number as f64, self.ramp.as_secs_f64());
        let in_ramp = self.rate * ramp / 2.0;
        let seconds = if number < in_ramp {
            (2.0 * ramp * number / self.rate).sqrt()
        } else {
            ramp + (number - in_ramp) / self.rate
        };
        Duration::try_from_secs_f64(seconds).map_or(NEVER, |start| start.min(NEVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_grows_in_the_ramp() {
        let even = Schedule { rate: 100.0, ramp: Duration::ZERO };
        assert_eq!([0, 1, 100].map(|n| even.start_of(n).as_millis()), [0, 10, 1000]);
        let ramp = Schedule { ramp: Duration::from_secs(2), ..even };
        // Two seconds of growth bring half of the transfers; the first second brings a quarter of
        // those.
        assert_eq!([0, 25, 100, 200].map(|n| ramp.start_of(n).as_millis()), [0, 1000, 2000, 3000]);
        for never in [Schedule { rate: 1e-300, ..even }, Schedule { ramp: Duration::MAX, ..even }] {
            assert_eq!(never.start_of(u64::MAX), NEVER);
        }
    }
}
