//! Lifetimes of pooled connections.
//!
//! A node that joins gets its share as connections are reopened; reopening all at once would be a
//! wave of logins. The driver's pool has one maximum age for all, so this closes older connections
//! one by one, at random intervals.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MIN: Duration = Duration::from_secs(15 * 60);

pub(crate) const MAX: Duration = Duration::from_secs(30 * 60);

/// Decides which returned connection is closed.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    /// The longest interval between two closed connections: all are replaced before [`MAX`].
    between_max: Duration,
    /// When the next connection may be closed; `None` until an old one is returned.
    next: Mutex<Option<Instant>>,
}

impl Lifetimes {
    pub(crate) fn new(connections_max: u32) -> Self {
        Self { between_max: (MAX - MIN) / connections_max.max(1), next: Mutex::default() }
    }

    /// Whether to close a connection of this age. `draw`: a uniform random duration up to its
    /// argument.
    pub(crate) fn ends(&self, age: Duration, now: Instant, draw: impl FnOnce(Duration) -> Duration) -> bool {
        if age < MIN {
            return false;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = next.is_some_and(|next| now >= next);
        if ends || next.is_none() {
            *next = Some(now + draw(self.between_max));
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When each connection is closed, if all are opened together and returned every second.
    fn ends(connections: u32, seed: u64) -> Vec<Duration> {
        let (lifetimes, opened) = (Lifetimes::new(connections), Instant::now());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut ends, mut age) = (Vec::new(), Duration::ZERO);
        while age < MAX {
            for _ in ends.len()..connections as usize {
                if lifetimes.ends(age, opened + age, |most| rng.random_range(Duration::ZERO..=most)) {
                    ends.push(age);
                }
            }
            age += SECOND;
        }
        ends
    }

    #[test]
    fn those_opened_together_go_one_by_one_between_the_ages() {
        for seed in 0..100 {
            let ends = ends(16, seed);
            assert_eq!(ends.len(), 16, "all are gone before the pool's own limit");
            assert!(ends[0] >= MIN, "{ends:?}");
            let together = ends.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert!(together <= 4, "{ends:?}");
        }
    }

    #[test]
    fn two_pools_opened_together_do_not_keep_step() {
        assert_ne!(ends(16, 1), ends(16, 2));
    }

    #[test]
    fn one_that_comes_back_after_a_long_while_goes_and_takes_no_other_with_it() {
        let lifetimes = Lifetimes::new(2);
        let now = Instant::now();
        let longest = |most| most;
        assert!(!lifetimes.ends(MIN - SECOND, now, longest), "it is young");
        assert!(!lifetimes.ends(MIN, now, longest), "its turn is drawn");
        let later = now + MAX;
        assert!(lifetimes.ends(MIN, later, longest));
        assert!(!lifetimes.ends(MIN, later, longest));
        assert!(lifetimes.ends(MIN, later + (MAX - MIN) / 2, longest));
    }
}
