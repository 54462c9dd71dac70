//! State that the links of one proxy share.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, Played};
use super::request::Request;

type Plan = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;
type Play = Box<dyn FnMut(&Request) -> Option<Played> + Send>;

#[derive(Default)]
pub(super) struct Shared {
    plan: Mutex<Option<Plan>>,
    play: Mutex<Option<Play>>,
    pub(super) connections: AtomicU64,
    pub(super) transactions: AtomicU64,
    /// The number of requests being delivered late.
    pub(super) late: watch::Sender<usize>,
    /// How often idle connections were cut.
    pub(super) cut_idle: watch::Sender<u64>,
    /// Closes the silent connections.
    pub(super) settled: CancellationToken,
}

impl Shared {
    pub(super) fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn play(&self) -> MutexGuard<'_, Option<Play>> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// Counts a late request until dropped.
pub(super) struct Late(Arc<Shared>);

impl Late {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.late.send_modify(|late| *late += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.late.send_modify(|late| *late -= 1);
    }
}
