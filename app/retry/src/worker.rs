//! A worker, which keeps its connection from run to run.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use crate::{Ended, Runner, Session, Tx};

/// How long an idle worker keeps its connection.
const IDLE_MAX: Duration = Duration::from_millis(200);

/// How long a busy worker keeps its connection, and so how long others wait for it.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// The one connection that a worker keeps.
#[derive(Default)]
pub(crate) struct Slot {
    /// The connection, between two runs, and when it was put here.
    session: Option<(Box<dyn Session>, Instant)>,
    /// When it was taken from the pool.
    since: Option<Instant>,
    /// Whether a task waits for it to idle.
    watched: bool,
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// The connection that its worker keeps, or one from the pool.
    pub(crate) async fn acquire(&self) -> Result<Box<dyn Session>, DbErr> {
        let kept = self.slot.as_ref().and_then(|slot| lock(slot).session.take());
        if let Some((session, _)) = kept {
            return Ok(session);
        }
        let session = self.sessions.acquire(self.policy.unnamed_statements).await?;
        if let Some(slot) = &self.slot {
            lock(slot).since = Some(Instant::now());
        }
        Ok(session)
    }

    /// Releases a connection, or keeps it for its worker.
    pub(crate) fn release(&self, session: Box<dyn Session>, close: bool) {
        if let Some(shared) = &self.slot {
            let mut slot = lock(shared);
            let fresh = slot.since.is_some_and(|since| since.elapsed() < KEPT_MAX);
            if fresh && !close && slot.session.is_none() {
                slot.session = Some((session, Instant::now()));
                if !std::mem::replace(&mut slot.watched, true) {
                    tokio::spawn(watch(Arc::downgrade(shared)));
                }
                return;
            }
        }
        session.release(close);
    }
}

/// Releases the connection once it idles.
async fn watch(slot: Weak<Mutex<Slot>>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = lock(&slot);
        if let Some((session, _)) = slot.session.take_if(|(_, since)| since.elapsed() >= IDLE_MAX) {
            session.release(false);
        }
        slot.watched = slot.session.is_some();
        if !slot.watched {
            return;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((session, _)) = self.session.take() {
            session.release(false);
        }
    }
}

/// Runs transactions back to back on one connection, which avoids the pool's ping on release.
///
/// It releases the connection after 200 ms without a run, and after 2 s in any case. It can be
/// dropped anywhere. Made by [`Runner::worker`].
pub struct Worker {
    runner: Runner,
}

impl Worker {
    pub(crate) fn new(runner: &Runner) -> Self {
        Self { runner: Runner { slot: Some(Arc::default()), ..runner.clone() } }
    }

    /// As [`Runner::run`].
    ///
    /// # Errors
    ///
    /// As [`Runner::run`].
    pub async fn run<T, E, F>(&mut self, name: &'static str, body: F) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.runner.run(name, body).await
    }

    /// As [`Runner::run_idempotent`].
    ///
    /// # Errors
    ///
    /// As [`Runner::run`].
    pub async fn run_idempotent<T, E, F>(&mut self, name: &'static str, body: F) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.runner.run_idempotent(name, body).await
    }

    /// As [`Runner::read`].
    ///
    /// # Errors
    ///
    /// As [`Runner::read`].
    pub async fn read<T, E, F>(&mut self, name: &'static str, body: F) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.runner.read(name, body).await
    }

    /// The worker's own runner, for everything else. Of runs at the same time one has the kept
    /// connection.
    pub fn runner(&mut self) -> &Runner {
        &self.runner
    }
}
