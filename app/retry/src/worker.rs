//! Where connections come from: a pool, and a worker that keeps one from run to run.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use crate::server::Version;
use crate::{Ended, Id, Runner, Session, Sessions, Tx};

/// How long an idle worker keeps its connection.
const IDLE_MAX: Duration = Duration::from_millis(200);

/// How long a busy one does: others wait for it no longer than that. So no ping is needed in between.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// A pool, what is known of its server, and a worker's own place for a connection.
#[derive(Clone)]
pub(crate) struct Source {
    pool: Arc<dyn Sessions>,
    version: Arc<OnceLock<Version>>,
    own: Option<Arc<Own>>,
}

impl Source {
    pub(crate) fn new(pool: Arc<dyn Sessions>) -> Self {
        let version = OnceLock::new();
        if let Some(server) = pool.server() {
            let _ = version.set(Version::plain(server));
        }
        Self { pool, version: Arc::new(version), own: None }
    }

    fn for_worker(&self) -> Self {
        Self { own: Some(Arc::default()), ..self.clone() }
    }

    pub(crate) fn identity(&self) -> usize {
        self.pool.identity()
    }

    /// The server's version, once it was asked.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    pub(crate) fn learn(&self, text: &str) -> Version {
        *self.version.get_or_init(|| Version::parse(text))
    }

    pub(crate) async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        if let Some(session) = self.own.as_ref().and_then(|own| own.take()) {
            return Ok(session);
        }
        let session = self.pool.acquire(unnamed).await?;
        if let Some(own) = &self.own {
            own.lock().since = Some(Instant::now());
        }
        Ok(session)
    }

    pub(crate) fn release(&self, session: Box<dyn Session>, close: bool) {
        match &self.own {
            Some(own) if !close => own.put(session),
            _ => session.release(close),
        }
    }

    pub(crate) async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        self.pool.end_orphan(id).await
    }
}

/// A worker's own place for a connection.
#[derive(Default)]
struct Own(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Between two runs.
    session: Option<Box<dyn Session>>,
    /// When it was taken from the pool.
    since: Option<Instant>,
    /// When it was put here.
    idle_since: Option<Instant>,
    /// Whether a task watches for it to idle.
    watched: bool,
}

impl Own {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Box<dyn Session>> {
        self.lock().session.take()
    }

    fn put(self: &Arc<Self>, session: Box<dyn Session>) {
        let mut kept = self.lock();
        let runtime = tokio::runtime::Handle::try_current().ok();
        let old = kept.since.is_none_or(|since| since.elapsed() >= KEPT_MAX);
        let Some(runtime) = runtime.filter(|_| !old && kept.session.is_none()) else {
            drop(kept);
            return session.release(false);
        };
        kept.session = Some(session);
        kept.idle_since = Some(Instant::now());
        if !std::mem::replace(&mut kept.watched, true) {
            let own = Arc::downgrade(self);
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(IDLE_MAX).await;
                    let Some(own) = own.upgrade() else { return };
                    let mut kept = own.lock();
                    if kept.session.is_some()
                        && kept.idle_since.is_some_and(|since| since.elapsed() < IDLE_MAX)
                    {
                        continue;
                    }
                    kept.watched = false;
                    let idle = kept.session.take();
                    drop(kept);
                    return idle.map_or((), |session| session.release(false));
                }
            });
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(session) = self.take() {
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
        Self { runner: Runner { source: runner.source.for_worker(), ..runner.clone() } }
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
