//! What commands share: the database, the bank, interruption. The flags are in `global`.

mod connect;

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::{Database, Options};
use futures_util::future::join_all;
use sea_orm_retry::Policy;
use terminal::{CLOSE_INTERRUPTED, CommandLine, Exit, Failure, interrupted, interruption, print};
use tokio_util::sync::CancellationToken;

use super::answer::Format;
use super::failure;
use super::global::Global;
use super::progress::Progress;
use crate::bank::{Bank, ReadError};

/// The time to end pending work after an interruption.
const GRACE: Duration = Duration::from_millis(700);

pub(super) struct Context {
    global: Global,
    command: &'static str,
    interrupted: CancellationToken,
    /// The failure if the command is cut off after `grace`.
    cut_off: Mutex<Option<Failure>>,
    grace: Mutex<Duration>,
    /// Whether the notes on the URL were printed.
    told: AtomicBool,
    /// Closed at the end.
    opened: Mutex<Vec<Database>>,
}

impl Context {
    /// The first signal cancels `interrupted`, the second ends the process.
    pub(super) fn start(global: Global, command: &'static str) -> Result<Self, Failure> {
        let progress = Progress::new(global.quiet, global.format);
        let interrupted = interruption(move || {
            progress.say("interrupted: finishing pending work; interrupt again to stop at once");
        })?;
        Ok(Self {
            global,
            command,
            interrupted,
            cut_off: Mutex::default(),
            grace: Mutex::new(GRACE),
            told: AtomicBool::new(false),
            opened: Mutex::default(),
        })
    }

    pub(super) async fn close(&self) {
        let opened = std::mem::take(&mut *lock(&self.opened));
        let interrupted = self.interrupted.is_cancelled();
        join_all(opened.iter().map(async |database| {
            if interrupted { database.close_within(CLOSE_INTERRUPTED).await } else { database.close().await }
        }))
        .await;
    }

    /// Sets the failure if the command is cut off. Commands call it before they write.
    pub(super) fn if_cut_off(&self, failure: Failure) {
        *lock(&self.cut_off) = Some(failure);
    }

    pub(super) fn set_grace(&self, grace: Duration) {
        *lock(&self.grace) = grace;
    }

    /// Returns when the command is interrupted and its grace is over.
    pub(super) async fn cut_off(&self) -> Failure {
        self.interrupted.cancelled().await;
        let grace = *lock(&self.grace);
        tokio::time::sleep(grace).await;
        let failure = lock(&self.cut_off).take();
        failure.unwrap_or_else(|| {
            interrupted("pending work may or may not be done: check before you run it again")
        })
    }

    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.global.quiet, self.global.format)
    }

    /// Prints one step of an answer at once. If that fails, the command is interrupted.
    pub(super) fn step(&self, text: &str) {
        if self.global.format == Format::Text {
            let _ = print(text);
        }
    }

    pub(super) fn answers_in_json(&self) -> bool {
        self.global.format == Format::Json
    }

    pub(super) fn interrupted(&self) -> &CancellationToken {
        &self.interrupted
    }

    pub(super) fn interruption(&self, what_next: impl AsRef<str>) -> Option<Failure> {
        self.interrupted.is_cancelled().then(|| interrupted(what_next.as_ref()))
    }

    /// Awaits work that changes nothing, unless the command is interrupted.
    pub(super) async fn or_interrupted<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        tokio::select! {
            // An earlier interruption ends the command, even if the work would be done at once.
            biased;
            () = self.interrupted.cancelled() => Err(interrupted("nothing was changed")),
            done = work => Ok(done?),
        }
    }

    /// Runs what may block for long, such as opening a pipe. An interruption abandons it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = tokio::task::spawn_blocking(work);
        self.or_interrupted(async {
            let panicked =
                |error: tokio::task::JoinError| Failure::new(Exit::Failed, "failed", error.to_string());
            work.await.map_err(panicked)?
        })
        .await
    }

    pub(super) async fn read<T>(
        &self,
        reading: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, Failure> {
        self.or_interrupted(async { reading.await.map_err(|error| failure::reading(&error)) }).await
    }

    pub(super) fn pool(&self) -> Option<u32> {
        self.global.pool
    }

    /// The migrated bank, for this many concurrent writers.
    pub(super) async fn bank_to_write(&self, at_once: u32) -> Result<Bank, Failure> {
        self.migrated_bank(&self.connect_to_write(at_once).await?).await
    }

    /// The migrated bank, for this many concurrent transactions.
    pub(super) async fn bank(&self, at_once: u32) -> Result<Bank, Failure> {
        self.migrated_bank(&self.connect(at_once).await?).await
    }

    /// Fails unless the schema is migrated.
    pub(super) async fn migrated_bank(&self, database: &Database) -> Result<Bank, Failure> {
        self.check_schema(database).await?;
        Ok(self.bank_on(database))
    }

    /// The bank on one connection without a statement timeout.
    pub(super) async fn bank_for_analysis(&self) -> Result<Bank, Failure> {
        let options = Options { create: false, ..Options::analysis() };
        let database = self.connect_with(&self.address()?, &options).await?;
        self.migrated_bank(&database).await
    }

    /// The bank for jobs of the server, which may take a day.
    pub(super) async fn bank_for_jobs(&self) -> Result<Bank, Failure> {
        let options = Options { create: false, ..Options::analysis() };
        let database = self.connect_with(&self.address()?, &options).await?;
        self.check_schema(&database).await?;
        let policy = Policy { answer_deadline: Duration::from_secs(24 * 60 * 60), ..self.policy() };
        Ok(Bank::new(&database, policy))
    }

    pub(super) fn bank_on(&self, database: &Database) -> Bank {
        Bank::new(database, self.policy())
    }

    async fn check_schema(&self, database: &Database) -> Result<(), Failure> {
        let _spinner = self.progress().spinner("checking the schema");
        let pending = self.or_interrupted(migration::pending(database)).await?;
        if pending.is_empty() {
            database.use_wal().await;
            return Ok(());
        }
        let (missing, total) = (pending.len(), migration::total());
        let how_far = if missing == total { "not migrated" } else { "migrated only in part" };
        Err(Failure::new(
            Exit::NoDatabase,
            "not_migrated",
            format!(
                "the schema is {how_far}, {missing} of {total} migrations are missing: run `{}`",
                CommandLine::migrate("up")
            ),
        ))
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            attempts_max: self.global.max_attempts,
            savepoint_restarts: self.global.savepoint_restarts,
            ..within(self.global.retry_for)
        }
    }
}

/// The default policy for runs that may take this long. The deadline for an answer leaves time to ask
/// again, but is never below 10 s: a server may be slow.
fn within(total_time: Duration) -> Policy {
    let policy = Policy::default();
    let share = (total_time * 3 / 5).max(Duration::from_secs(10));
    Policy { total_time, answer_deadline: share.min(policy.answer_deadline), ..policy }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_comes_leaves_time_to_ask_again() {
        for (total, deadline) in [(1, 10), (20, 12), (30, 18), (60, 35), (86_400, 35)] {
            let policy = within(Duration::from_secs(total));
            assert_eq!((policy.total_time.as_secs(), policy.answer_deadline.as_secs()), (total, deadline));
        }
        assert_eq!(within(Policy::default().total_time), Policy::default());
    }
}
