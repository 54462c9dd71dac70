//! How long the connections of a pool live: those that were opened together do not go together.
//!
//! A node that joins, or comes back, gets its share as connections are opened anew; all of them at once would be a wave of logins. The driver's
//! pool has one age for all, and a connection carries no mark of its own, so this thins them out: once they are old enough they go
//! one by one, a random while between two. What it leaves to others: the pool's own limit, which takes whatever is left at [`MAX`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Younger ones stay.
const MIN: Duration = Duration::from_secs(15 * 60);

/// Older ones go, all of them.
pub(crate) const MAX: Duration = Duration::from_secs(30 * 60);

/// Decides which connection that comes back to its pool stays there.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    /// The longest while between two that go: so long that, as often as connections come back, as many as the pool has are gone before
    /// the first of them reaches [`MAX`].
    between_max: Duration,
    /// When the next may go; from when an old one came back first.
    next: Mutex<Option<Instant>>,
}

impl Lifetimes {
    /// For a pool of at most so many connections.
    pub(crate) fn new(connections_max: u32) -> Self {
        Self { between_max: (MAX - MIN) / connections_max.max(1), next: Mutex::default() }
    }

    /// Whether a connection of this age goes now. `draw` draws evenly between 0 and what it is given.
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

    /// When each of so many that were opened together goes, where each comes back every second; those that are left go at [`MAX`].
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
