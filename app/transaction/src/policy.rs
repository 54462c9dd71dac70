//! How often, how long, and with what pauses.

use std::time::Duration;

use rand::{Rng, RngExt};

/// When the runner tries again, and when it stops. Retries are bounded by attempts and by time, whichever ends first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most attempts of one transaction, the first included; at least 1.
    pub attempts_max: u32,
    /// No attempt starts, and no pause ends, later than this after the run began.
    pub total_time: Duration,
    /// The longest the runner waits for one answer: a connection, a statement, a COMMIT. What takes longer is
    /// treated as a lost connection.
    pub answer_deadline: Duration,
    /// The bound of the first pause; it doubles with each retry.
    pub pause_first: Duration,
    /// The bound of every pause.
    pub pause_max: Duration,
    /// CockroachDB's client-side retry protocol: after `SAVEPOINT cockroach_restart`, how often the body is
    /// restarted at once by `ROLLBACK TO` before the transaction is given up and begun anew. `None` leaves the savepoint out.
    /// Refused on every other server, where releasing a savepoint commits nothing.
    pub savepoint_restarts: Option<u32>,
    /// How old the snapshots are that [`Runner::read`](crate::Runner::read) reads; `None` for the present. One of some seconds ago waits
    /// for nobody, and any copy of the data can answer. CockroachDB's: refused on every other server.
    pub read_as_of: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // Time ends first: with full pauses these take four minutes.
            attempts_max: 1000,
            total_time: Duration::from_secs(60),
            answer_deadline: Duration::from_secs(35),
            pause_first: Duration::from_millis(2),
            pause_max: Duration::from_millis(500),
            savepoint_restarts: None,
            read_as_of: None,
        }
    }
}

impl Policy {
    /// The default, for runs that may take so long. Of that, an answer is waited for no longer than leaves time to ask again: a
    /// node that vanishes closes nothing, and the answer to a COMMIT may be one that never comes. But ten seconds always, for a
    /// server may be slow.
    #[must_use]
    pub fn within(total_time: Duration) -> Self {
        let policy = Self::default();
        let share = (total_time * 3 / 5).max(Duration::from_secs(10));
        Self { total_time, answer_deadline: share.min(policy.answer_deadline), ..policy }
    }

    /// The pause before the retry with this number (the first is 1): uniform between zero and a bound that doubles
    /// ("full jitter", Marc Brooker, AWS Architecture Blog, 2015), so that those who collided do not meet again.
    #[must_use]
    pub fn pause(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        rng.random_range(Duration::ZERO..=self.pause_bound(retry))
    }

    fn pause_bound(&self, retry: u32) -> Duration {
        let doubled = 2_u32
            .checked_pow(retry.saturating_sub(1))
            .and_then(|factor| self.pause_first.checked_mul(factor));
        doubled.map_or(self.pause_max, |bound| bound.min(self.pause_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_within_its_bound(first_us in 0_u64..1_000_000, max_us in 0_u64..10_000_000, retry in 1_u32..=u32::MAX) {
            let policy = Policy {
                pause_first: Duration::from_micros(first_us),
                pause_max: Duration::from_micros(max_us),
                ..Policy::default()
            };
            let exact = u128::from(first_us).saturating_mul(1_u128.checked_shl(retry - 1).unwrap_or(u128::MAX));
            let bound = exact.min(u128::from(max_us));
            prop_assert_eq!(policy.pause_bound(retry).as_micros(), bound);
            prop_assert!(policy.pause(retry, &mut rand::rng()).as_micros() <= bound);
        }
    }

    #[test]
    fn an_answer_that_never_comes_leaves_time_to_ask_again() {
        for (total, deadline) in [(1, 10), (20, 12), (30, 18), (60, 35), (86_400, 35)] {
            let policy = Policy::within(Duration::from_secs(total));
            assert_eq!((policy.total_time.as_secs(), policy.answer_deadline.as_secs()), (total, deadline));
        }
        assert_eq!(Policy::within(Policy::default().total_time), Policy::default());
    }

    #[test]
    fn pauses_are_spread_over_their_whole_range() {
        let policy = Policy {
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(1),
            ..Policy::default()
        };
        let mut rng = rand::rng();
        let below_a_tenth =
            (0..10_000).filter(|_| policy.pause(1, &mut rng) < Duration::from_millis(100)).count();
        let above_nine_tenths =
            (0..10_000).filter(|_| policy.pause(1, &mut rng) > Duration::from_millis(900)).count();
        assert!((500..2_000).contains(&below_a_tenth), "{below_a_tenth}");
        assert!((500..2_000).contains(&above_nine_tenths), "{above_nine_tenths}");
    }
}
