//! What the commands share: the flags of all of them, the database, and being interrupted.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use database::{Address, ConnectError, Database, EMBEDDED_URL, Options, Server};
use futures_util::future::join_all;
use sea_orm_retry::Policy;
use terminal::{CommandLine, Exit, Failure, interrupted, interruption, print};
use tokio_util::sync::CancellationToken;

use super::answer::Format;
use super::failure;
use super::progress::Progress;
use crate::bank::{Bank, ReadError};

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Where the database is: cockroachdb://, postgres:// or sqlite://; a file `.env` is read too [default: sqlite://bank.db?mode=rwc]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,

    /// Print every SQL statement to standard error, BEGIN and COMMIT included
    #[arg(long, global = true)]
    pub(super) echo: bool,

    /// How to print answers
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,

    /// Print answers and failures only
    #[arg(long, short, global = true)]
    quiet: bool,

    /// The most attempts of one transaction
    #[arg(long, global = true, value_name = "N", default_value_t = Policy::default().attempts_max,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,

    /// How long one transaction is tried again, as in 90s or 2m; a bare number is seconds
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = super::values::seconds)]
    retry_for: Duration,

    /// On CockroachDB: retry so often from `SAVEPOINT cockroach_restart` before a full restart
    #[arg(long, global = true, value_name = "N")]
    savepoint_restarts: Option<u32>,

    /// The most connections [default: as many as transactions run at once]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pool: Option<u32>,
}

/// One run of the program.
pub(super) struct Context {
    global: Global,
    interrupted: CancellationToken,
    /// What was connected to, to be closed in the end.
    opened: Mutex<Vec<Database>>,
}

impl Context {
    /// Starts listening for an interruption: the first asks the command to end well, the second ends the process.
    pub(super) fn start(global: Global) -> Result<Self, Failure> {
        let progress = Progress::new(global.quiet);
        let interrupted = interruption(move || {
            progress.say("interrupted: ending what has begun; once more to stop at once");
        })?;
        Ok(Self { global, interrupted, opened: Mutex::default() })
    }

    /// Closes all databases that were connected to.
    pub(super) async fn close(&self) {
        let opened = std::mem::take(&mut *self.opened());
        join_all(opened.iter().map(Database::close)).await;
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Database>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the user is told how it goes.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.global.quiet)
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

    /// Connects for so many transactions at once.
    pub(super) async fn connect(&self, at_once: u32) -> Result<Database, Failure> {
        let max_connections = self.global.pool.unwrap_or(at_once);
        let options = Options { max_connections, create: false, ..Options::default() };
        self.connect_with(&self.address()?, &options).await
    }

    /// Where the database is.
    pub(super) fn address(&self) -> Result<Address, Failure> {
        Ok(Address::parse(self.global.database_url.as_deref().unwrap_or(EMBEDDED_URL))?)
    }

    /// Connects to an address, as told.
    pub(super) async fn connect_with(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Database, Failure> {
        let database = self.or_interrupted(connect(address, options)).await?;
        self.opened().push(database.clone());
        if self.global.savepoint_restarts.is_some() && database.server != Server::Cockroach {
            return Err(Failure::usage(format!(
                "--savepoint-restarts is CockroachDB's protocol, and this is {}: leave it out",
                database.server
            )));
        }
        Ok(database)
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

    /// The bank, for statements over whole tables that take as long as they take.
    pub(super) async fn bank_for_analysis(&self) -> Result<Bank, Failure> {
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

/// Connects; a file that is missing is a schema that is not migrated.
async fn connect(address: &Address, options: &Options) -> Result<Database, Failure> {
    database::connect(address, options).await.map_err(|error| match error {
        ConnectError::MissingFile { path } => Failure::new(
            Exit::NoDatabase,
            "not_migrated",
            format!(
                "there is no file {path}, so the schema is not migrated: run `{}`",
                CommandLine::migrate("up")
            ),
        ),
        error => error.into(),
    })
}
