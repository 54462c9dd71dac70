//! What the commands share: the database, the bank, and being interrupted. The flags are in `global`.

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

/// How long a command has, once it is interrupted, to end what it has begun.
const GRACE: Duration = Duration::from_millis(700);

/// One run of the program.
pub(super) struct Context {
    global: Global,
    /// The command's name.
    command: &'static str,
    interrupted: CancellationToken,
    /// What the command ends in where it is cut off; it can say so before it begins to write.
    cut_off: Mutex<Option<Failure>>,
    /// How long the command has, once it is interrupted, to end what it has begun.
    grace: Mutex<Duration>,
    /// Whether the URL's notes were told.
    told: AtomicBool,
    /// What was connected to, to be closed in the end.
    opened: Mutex<Vec<Database>>,
}

impl Context {
    /// Starts listening for an interruption: the first asks the command to end well, the second ends the process.
    pub(super) fn start(global: Global, command: &'static str) -> Result<Self, Failure> {
        let progress = Progress::new(global.quiet, global.format);
        let interrupted = interruption(move || {
            progress.say("interrupted: ending what has begun; once more to stop at once");
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

    /// Closes all databases that were connected to.
    pub(super) async fn close(&self) {
        let opened = std::mem::take(&mut *lock(&self.opened));
        let interrupted = self.interrupted.is_cancelled();
        join_all(opened.iter().map(async |database| {
            if interrupted { database.close_within(CLOSE_INTERRUPTED).await } else { database.close().await }
        }))
        .await;
    }

    /// Says what the command ends in from now on where it is interrupted and what it has begun does not end in time.
    pub(super) fn if_cut_off(&self, failure: Failure) {
        *lock(&self.cut_off) = Some(failure);
    }

    /// Gives the command another time to end what it has begun.
    pub(super) fn set_grace(&self, grace: Duration) {
        *lock(&self.grace) = grace;
    }

    /// Waits for an interruption, and then for as long as the command has to end what it has begun.
    pub(super) async fn cut_off(&self) -> Failure {
        self.interrupted.cancelled().await;
        let grace = *lock(&self.grace);
        tokio::time::sleep(grace).await;
        let failure = lock(&self.cut_off).take();
        failure
            .unwrap_or_else(|| interrupted("what was begun may be done or not: look before you run it again"))
    }

    /// Where the user is told how it goes.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.global.quiet, self.global.format)
    }

    /// One step of an answer that takes several, told as soon as it is done. Where it cannot be, the command is interrupted.
    pub(super) fn step(&self, text: &str) {
        if self.global.format == Format::Text {
            let _ = print(text);
        }
    }

    /// Whether the answer is one object, and standard output its.
    pub(super) fn answers_in_json(&self) -> bool {
        self.global.format == Format::Json
    }

    /// Cancelled when the user interrupts.
    pub(super) fn interrupted(&self) -> &CancellationToken {
        &self.interrupted
    }

    /// What an interrupted command ends in.
    pub(super) fn interruption(&self, what_next: impl AsRef<str>) -> Option<Failure> {
        self.interrupted.is_cancelled().then(|| interrupted(what_next.as_ref()))
    }

    /// Waits for something that an interruption may leave undone: connecting, and whatever only reads.
    pub(super) async fn or_interrupted<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        tokio::select! {
            done = work => Ok(done?),
            () = self.interrupted.cancelled() => Err(interrupted("nothing was changed")),
        }
    }

    /// Waits for what blocks its thread for as long as somebody else likes: opening a pipe, an answer typed in. An
    /// interruption leaves it behind.
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

    /// Waits for what only reads the bank.
    pub(super) async fn read<T>(
        &self,
        reading: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, Failure> {
        self.or_interrupted(async { reading.await.map_err(|error| failure::reading(&error)) }).await
    }

    /// The most connections, where the user says.
    pub(super) fn pool(&self) -> Option<u32> {
        self.global.pool
    }

    /// The bank, for so many writing transactions at once. Its schema is there.
    pub(super) async fn bank_to_write(&self, at_once: u32) -> Result<Bank, Failure> {
        self.migrated_bank(&self.connect_to_write(at_once).await?).await
    }

    /// The bank, for so many transactions at once. Its schema is there.
    pub(super) async fn bank(&self, at_once: u32) -> Result<Bank, Failure> {
        self.migrated_bank(&self.connect(at_once).await?).await
    }

    /// The bank on a database whose schema is there, or it is said what to run.
    pub(super) async fn migrated_bank(&self, database: &Database) -> Result<Bank, Failure> {
        self.check_schema(database).await?;
        Ok(self.bank_on(database))
    }

    /// The bank, for few statements over whole tables, which the server does not cut off.
    pub(super) async fn bank_for_analysis(&self) -> Result<Bank, Failure> {
        let options = Options { create: false, ..Options::analysis() };
        let database = self.connect_with(&self.address()?, &options).await?;
        self.migrated_bank(&database).await
    }

    /// The bank, for jobs of the server, whose statements may take a day.
    pub(super) async fn bank_for_jobs(&self) -> Result<Bank, Failure> {
        let options = Options { create: false, ..Options::analysis() };
        let database = self.connect_with(&self.address()?, &options).await?;
        self.check_schema(&database).await?;
        let policy = Policy { answer_deadline: Duration::from_secs(24 * 60 * 60), ..self.policy() };
        Ok(Bank::new(&database, policy))
    }

    /// The bank on a database whose schema is known to be there.
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

    /// How transactions are tried again.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            attempts_max: self.global.max_attempts,
            savepoint_restarts: self.global.savepoint_restarts,
            ..Policy::within(self.global.retry_for)
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
