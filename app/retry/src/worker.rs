//! A worker, which keeps its connection from run to run.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DbErr;
use tokio::time::Instant;

use crate::server::Version;
use crate::{Ended, Id, Runner, Session, Sessions, Tx};

/// How long an idle worker keeps its connection.
const IDLE_MAX: Duration = Duration::from_millis(200);

/// How long a busy worker keeps its connection, and so how long others wait for it.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// A pool, and the one connection of it that the worker keeps.
struct WorkerSessions {
    pool: Arc<dyn Sessions>,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// The connection, between two runs.
    session: Option<Box<dyn Session>>,
    /// When it was taken from the pool.
    since: Option<Instant>,
    /// When it was put here.
    idle_since: Option<Instant>,
    /// Whether a task waits for it to idle.
    watched: bool,
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Sessions for WorkerSessions {
    fn version(&self) -> Option<Version> {
        self.pool.version()
    }

    fn identity(&self) -> usize {
        self.pool.identity()
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let kept = lock(&self.slot).session.take();
        if let Some(session) = kept {
            return Ok(session);
        }
        let session = self.pool.acquire(unnamed).await?;
        lock(&self.slot).since = Some(Instant::now());
        Ok(session)
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        self.pool.end_orphan(id).await
    }

    fn release(&self, session: Box<dyn Session>, close: bool) {
        let mut slot = lock(&self.slot);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let old = slot.since.is_none_or(|since| since.elapsed() >= KEPT_MAX);
        let Some(runtime) = runtime.filter(|_| !close && !old && slot.session.is_none()) else {
            drop(slot);
            return session.release(close);
        };
        slot.session = Some(session);
        slot.idle_since = Some(Instant::now());
        if !std::mem::replace(&mut slot.watched, true) {
            runtime.spawn(watch(Arc::downgrade(&self.slot)));
        }
    }
}

/// Releases the connection once it idles.
async fn watch(slot: Weak<Mutex<Slot>>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = lock(&slot);
        let idles = slot.idle_since.is_none_or(|since| since.elapsed() >= IDLE_MAX);
        if slot.session.is_none() || idles {
            slot.watched = false;
            let idle = slot.session.take();
            drop(slot);
            return idle.map_or((), |session| session.release(false));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
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
        let sessions = WorkerSessions { pool: runner.sessions.clone(), slot: Arc::default() };
        Self { runner: Runner { sessions: Arc::new(sessions), ..runner.clone() } }
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
