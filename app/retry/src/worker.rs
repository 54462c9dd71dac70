//! The connection that a worker keeps from run to run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::{Failure, Link, Runner, answer};

/// How long an idle worker keeps its connection at least; at most twice as long.
const IDLE_MAX: Duration = Duration::from_millis(200);

/// How long a busy worker keeps its connection, up to the end of a run, and so how long others wait
/// for it.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// The one connection that a worker keeps.
#[derive(Default)]
pub(crate) struct Slot {
    /// The connection, between two runs, and when it was parked here.
    kept: Option<(Link, Instant)>,
    /// Whether a task waits for it to idle.
    watched: bool,
    /// Held by each run that waits for the pool.
    waiting: Arc<()>,
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// The connection that was kept, or one from the pool.
    pub(crate) async fn acquire(&self, within: Duration) -> Result<Link, Failure> {
        if let Some((link, _)) = self.slot.as_ref().and_then(|slot| lock(slot).kept.take()) {
            return Ok(Link { deadline: within, ..link });
        }
        let _waits = self.slot.as_ref().map(|slot| Arc::clone(&lock(slot).waiting));
        let session = answer(within, self.sessions.acquire(self.policy.unnamed_statements)).await?;
        Ok(Link { session: Some(session), since: Instant::now(), deadline: within })
    }

    /// Releases the connection, or keeps it for the next run of a worker if none waits already.
    pub(crate) fn release(&self, link: Link, close: bool) {
        if let Some(shared) = &self.slot {
            let mut slot = lock(shared);
            let is_good = link.session.is_some() && !close;
            let is_alone = Arc::strong_count(&slot.waiting) == 1;
            if is_good && is_alone && link.since.elapsed() < KEPT_MAX && slot.kept.is_none() {
                slot.kept = Some((link, Instant::now()));
                if !std::mem::replace(&mut slot.watched, true) {
                    tokio::spawn(watch(Arc::downgrade(shared)));
                }
                return;
            }
        }
        link.release(close);
    }
}

/// Releases the connection once it idles.
async fn watch(slot: Weak<Mutex<Slot>>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = lock(&slot);
        if let Some((link, _)) = slot.kept.take_if(|(_, parked)| parked.elapsed() >= IDLE_MAX) {
            link.release(false);
        }
        slot.watched = slot.kept.is_some();
        if !slot.watched {
            return;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((link, _)) = self.kept.take() {
            link.release(false);
        }
    }
}
