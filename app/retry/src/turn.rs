//! Whose turn it is to write on SQLite.
//!
//! SQLite has one lock for writing and no queue before it: a connection that waits asks again after pauses of up to 100 ms, whoever
//! asks at the right moment has it, and the longest wait has no bound. So the writers of one runner and its clones take turns
//! before they ask. Newcomers go first, which spares a handover for each transaction, until the longest wait is [`AGE`]; then
//! all who wait are served in their order. Among processes each has one that asks, and asks so often that it is heard
//! between two transactions of another.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long newcomers may go first.
const AGE: Duration = Duration::from_secs(2);

/// The bound of the pause before asking again, where nobody goes first: below the time of a transaction with its fsync.
const POLL: Duration = Duration::from_millis(1);

/// The bound of a pause while newcomers may go first, to which it doubles from [`POLL`].
const POLL_MAX: Duration = Duration::from_millis(64);

/// A BEGIN that takes longer has waited for another process, which is reckoned with for [`RIVALS_FOR`].
const RIVALS_AFTER: Duration = Duration::from_millis(10);
const RIVALS_FOR: Duration = Duration::from_secs(1);

/// The writers of one pool.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    /// The busy timeout of the pool's connections, once one was asked for it.
    pub(crate) patience: OnceLock<Duration>,
}

struct State {
    taken: bool,
    /// Since when the first of those who wait does.
    first_since: Option<Instant>,
    waiting: Arc<Semaphore>,
    /// When another process was last met.
    rivals: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        Self { taken: false, first_since: None, waiting: Arc::new(Semaphore::new(1)), rivals: None }
    }
}

/// The only writer of its pool, until it is dropped.
pub(crate) struct Turn(Arc<Turns>);

/// The first of those who wait, until it is dropped.
struct First<'t>(&'t Turns);

impl Turns {
    /// Waits for one's turn.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn {
        let came = Instant::now();
        if let Some(turn) = self.take(true) {
            return turn;
        }
        let waiting = Arc::clone(&self.state().waiting);
        let _permit = waiting.acquire().await.expect("it is never closed");
        self.state().first_since = Some(came);
        let _first = First(self);
        let mut bound = POLL;
        loop {
            if let Some(turn) = self.take(false) {
                return turn;
            }
            pause(if came.elapsed() < AGE { bound } else { POLL }).await;
            bound = POLL_MAX.min(2 * bound);
        }
    }

    fn take(self: &Arc<Self>, newcomer: bool) -> Option<Turn> {
        let mut state = self.state();
        let goes_first = state.first_since.is_none_or(|since| since.elapsed() < AGE);
        if state.taken || newcomer && !goes_first {
            return None;
        }
        state.taken = true;
        Some(Turn(Arc::clone(self)))
    }

    /// Whether other processes write as well: then asking is up to the runner.
    pub(crate) fn has_rivals(&self) -> bool {
        self.state().rivals.is_some_and(|met| met.elapsed() < RIVALS_FOR)
    }

    /// Notes how long a BEGIN took that was up to SQLite.
    pub(crate) fn began_within(&self, took: Duration) {
        if took >= RIVALS_AFTER {
            self.met_rival();
        }
    }

    pub(crate) fn met_rival(&self) {
        self.state().rivals = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().taken = false;
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.0.state().first_since = None;
    }
}

/// The pause before another process's lock is asked for again.
pub(crate) async fn pause_before_asking_again() {
    pause(2 * POLL).await;
}

async fn pause(bound: Duration) {
    let pause = rand::rng().random_range(Duration::ZERO..=bound);
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixteen greedy writers come back at once after each transaction; the longest wait of anybody stays near AGE.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_much_longer_than_newcomers_may_go_first() {
        let turns = Arc::new(Turns::default());
        let writers: Vec<_> = (0..16)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move {
                    let mut longest = Duration::ZERO;
                    for _ in 0..1_000 {
                        let came = Instant::now();
                        let _turn = turns.turn().await;
                        longest = longest.max(came.elapsed());
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    longest
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        for writer in writers {
            longest = longest.max(writer.await.expect("no panic"));
        }
        assert!((AGE..AGE * 3 / 2).contains(&longest), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_cancelled_leaves_the_queue_and_its_turn() {
        let turns = Arc::new(Turns::default());
        let turn = turns.turn().await;
        assert!(tokio::time::timeout(2 * AGE, turns.turn()).await.is_err());
        drop(turn);
        drop(turns.turn().await);
        let state = turns.state();
        assert!(!state.taken && state.first_since.is_none() && state.waiting.available_permits() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_is_reckoned_with_for_a_while() {
        let turns = Turns::default();
        turns.began_within(RIVALS_AFTER / 2);
        assert!(!turns.has_rivals());
        turns.began_within(RIVALS_AFTER);
        assert!(turns.has_rivals());
        tokio::time::sleep(RIVALS_FOR).await;
        assert!(!turns.has_rivals());
    }
}
