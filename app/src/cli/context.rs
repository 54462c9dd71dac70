//! What the commands share: the flags of all of them, the database, and being interrupted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use database::{Address, ConnectError, Database, EMBEDDED_URL, Options, Server};
use futures_util::future::join_all;
use sea_orm_retry::Policy;
use terminal::{CLOSE_INTERRUPTED, ColorFlag, CommandLine, Exit, Failure, interrupted, interruption, print};
use tokio_util::sync::CancellationToken;

use super::answer::Format;
use super::failure;
use super::progress::Progress;
use crate::bank::{Bank, ReadError};

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The database: cockroachdb://, postgres:// or sqlite://; also read from a file `.env`
    /// [default: sqlite://bank.db?mode=rwc]
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Connection"
    )]
    database_url: Option<String>,

    /// The most connections [default: one for each concurrent transaction]
    #[arg(long, global = true, value_name = "N", help_heading = "Connection", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pool: Option<u32>,

    /// The most attempts of a transaction
    #[arg(long, global = true, value_name = "N", help_heading = "Retries", default_value_t = Policy::default().attempts_max,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,

    /// The retry budget of a transaction, as in 90s or 2m; also the longest wait for a connection or
    /// for a standby's promotion. A bare number is seconds
    #[arg(long, global = true, value_name = "TIME", default_value = "60s",
        value_parser = super::values::seconds, help_heading = "Retries")]
    retry_for: Duration,

    /// CockroachDB: restarts from `SAVEPOINT cockroach_restart` before a new transaction
    #[arg(long, global = true, value_name = "N", help_heading = "Retries")]
    savepoint_restarts: Option<u32>,

    /// Print every SQL statement to standard error, BEGIN and COMMIT included
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) echo: bool,

    /// The format of answers
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    format: Format,

    /// Print answers and errors only
    #[arg(long, short, global = true, help_heading = "Output")]
    quiet: bool,

    #[command(flatten)]
    pub(super) color: ColorFlag,
}

/// How long a command has, once it is interrupted, to end what it has begun.
const GRACE: Duration = Duration::from_millis(700);

/// The pause before a server is asked again that takes no further connection, or no writes.
const FULL_PAUSE: Duration = Duration::from_millis(500);

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
        let progress = Progress::new(global.quiet);
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
        self.connect_with(&self.address()?, &self.options(at_once)).await
    }

    fn options(&self, at_once: u32) -> Options {
        let max_connections = self.global.pool.unwrap_or(at_once);
        Options { max_connections, create: false, ..Options::default() }
    }

    /// Where the database is.
    pub(super) fn address(&self) -> Result<Address, Failure> {
        let address = Address::parse(self.global.database_url.as_deref().unwrap_or(EMBEDDED_URL))?;
        if !self.told.swap(true, Ordering::Relaxed) {
            for note in address.notes() {
                self.progress().say(note);
            }
        }
        Ok(address.with_application_name(&format!("seabank {}", self.command)))
    }

    /// Connects to an address, as told.
    pub(super) async fn connect_with(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Database, Failure> {
        let database = self.or_interrupted(self.connect_patiently(address, options)).await?;
        lock(&self.opened).push(database.clone());
        if let Some(words) = &database.limited {
            self.progress()
                .say(&format!("going on with fewer connections, for the server takes no more: {words}"));
        }
        if self.global.savepoint_restarts.is_some() && database.server != Server::Cockroach {
            return Err(Failure::usage(format!(
                "--savepoint-restarts is CockroachDB's protocol, and this is {}: leave it out",
                database.server
            )));
        }
        Ok(database)
    }

    /// Connects; where the server takes no further connection, tries again for as long as a transaction is tried.
    async fn connect_patiently(&self, address: &Address, options: &Options) -> Result<Database, Failure> {
        let until = Instant::now() + self.global.retry_for;
        let mut told = false;
        loop {
            match database::connect(address, options).await {
                Err(error @ ConnectError::Full { .. }) if Instant::now() < until => {
                    if !std::mem::replace(&mut told, true) {
                        let time = humantime::format_duration(self.global.retry_for);
                        self.progress().say(&format!("trying for up to {time}: {error}"));
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                connected => return connected.map_err(missing_file),
            }
        }
    }

    /// Connects for so many writing transactions at once.
    pub(super) async fn connect_to_write(&self, at_once: u32) -> Result<Database, Failure> {
        self.writable(&self.options(at_once)).await
    }

    /// Connects as told to a server that takes writes, or has become one in time.
    pub(super) async fn writable(&self, options: &Options) -> Result<Database, Failure> {
        let until = Instant::now() + self.global.retry_for;
        let mut told = false;
        loop {
            let database = self.connect_with(&self.address()?, options).await?;
            if !database.is_standby {
                return Ok(database);
            }
            let line = format!("the server at {} is a hot standby, which takes no writes", self.address()?);
            if Instant::now() >= until {
                let line = format!("{line}: give the URL of the one that does, or promote this one");
                return Err(Failure::new(Exit::Failed, "read_only", line));
            }
            if !std::mem::replace(&mut told, true) {
                let time = humantime::format_duration(self.global.retry_for);
                self.progress().say(&format!("{line}: waiting up to {time} for it to be promoted"));
            }
            database.close_within(CLOSE_INTERRUPTED).await;
            self.or_interrupted(async {
                tokio::time::sleep(FULL_PAUSE).await;
                Ok::<_, Failure>(())
            })
            .await?;
        }
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

/// A file that is missing is a schema that is not migrated.
fn missing_file(error: ConnectError) -> Failure {
    match error {
        ConnectError::MissingFile { path } => Failure::new(
            Exit::NoDatabase,
            "not_migrated",
            format!(
                "there is no file {path}, so the schema is not migrated: run `{}`",
                CommandLine::migrate("up")
            ),
        ),
        error => error.into(),
    }
}
