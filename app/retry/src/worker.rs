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

/// How long a busy one does: others wait for it no longer than that. So no ping is needed in between.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// A pool, and a place for one of its connections.
struct Keeping {
    pool: Arc<dyn Sessions>,
    place: Arc<Mutex<Place>>,
}

#[derive(Default)]
struct Place {
    /// Between two runs.
    session: Option<Box<dyn Session>>,
    /// When it was taken from the pool.
    since: Option<Instant>,
    /// When it was put here.
    idle_since: Option<Instant>,
    /// Whether a task watches for it to idle.
    watched: bool,
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Sessions for Keeping {
    fn version(&self) -> Option<Version> {
        self.pool.version()
    }

    fn identity(&self) -> usize {
        self.pool.identity()
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let kept = lock(&self.place).session.take();
        if let Some(session) = kept {
            return Ok(session);
        }
        let session = self.pool.acquire(unnamed).await?;
        lock(&self.place).since = Some(Instant::now());
        Ok(session)
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        self.pool.end_orphan(id).await
    }

    fn release(&self, session: Box<dyn Session>, close: bool) {
        let mut place = lock(&self.place);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let old = place.since.is_none_or(|since| since.elapsed() >= KEPT_MAX);
        let Some(runtime) = runtime.filter(|_| !close && !old && place.session.is_none()) else {
            drop(place);
            return session.release(close);
        };
        place.session = Some(session);
        place.idle_since = Some(Instant::now());
        if !std::mem::replace(&mut place.watched, true) {
            runtime.spawn(watch(Arc::downgrade(&self.place)));
        }
    }
}

/// Gives the connection back once it idles.
async fn watch(place: Weak<Mutex<Place>>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(place) = place.upgrade() else { return };
        let mut place = lock(&place);
        let idles = place.idle_since.is_none_or(|since| since.elapsed() >= IDLE_MAX);
        if place.session.is_none() || idles {
            place.watched = false;
            let idle = place.session.take();
            drop(place);
            return idle.map_or((), |session| session.release(false));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.release(false);
        }
    }
}

/// Runs one transaction after the other and keeps its connection in between, which avoids the pool's ping on release.
///
/// It gives the connection back after 200 ms without a run, and after 2 s in any case, so that others wait no longer. It can be
/// dropped anywhere. Made by [`Runner::worker`].
pub struct Worker {
    runner: Runner,
}

impl Worker {
    pub(crate) fn new(runner: &Runner) -> Self {
        let sessions = Keeping { pool: runner.sessions.clone(), place: Arc::default() };
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

    /// The worker's own runner, for everything else. Of runs at the same time one has the kept connection.
    pub fn runner(&mut self) -> &Runner {
        &self.runner
    }
}
