//! Connecting, also to a server that is full or still a standby.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use database::{Address, ConnectError, Database, EMBEDDED_URL, Options, Server};
use terminal::{CLOSE_INTERRUPTED, CommandLine, Exit, Failure};

use super::{Context, lock};

/// The pause before a full server or a standby is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

impl Context {
    pub(in crate::cli) async fn connect(&self, at_once: u32) -> Result<Database, Failure> {
        self.connect_with(&self.address()?, &self.options(at_once)).await
    }

    pub(super) fn options(&self, at_once: u32) -> Options {
        let max_connections = self.global.pool.unwrap_or(at_once);
        Options { max_connections, create: false, ..Options::default() }
    }

    pub(in crate::cli) fn address(&self) -> Result<Address, Failure> {
        let address = Address::parse(self.global.database_url.as_deref().unwrap_or(EMBEDDED_URL))?;
        if !self.told.swap(true, Ordering::Relaxed) {
            for note in address.notes() {
                self.progress().say(note);
            }
        }
        Ok(address.with_application_name(&format!("seabank {}", self.command)))
    }

    pub(in crate::cli) async fn connect_with(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Database, Failure> {
        let _spinner = self.progress().spinner("connecting");
        let database = self.or_interrupted(self.connect_patiently(address, options)).await?;
        lock(&self.opened).push(database.clone());
        if let Some(words) = &database.limited {
            self.progress().say(&format!(
                "continuing with fewer connections, because the server accepts no more: {words}"
            ));
        }
        if self.global.savepoint_restarts.is_some() && database.server != Server::Cockroach {
            return Err(Failure::usage(format!(
                "--savepoint-restarts is CockroachDB's protocol, and this is {}: leave it out",
                database.server
            )));
        }
        Ok(database)
    }

    /// Retries for `--retry-for` while the server has no free connection.
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

    pub(in crate::cli) async fn connect_to_write(&self, at_once: u32) -> Result<Database, Failure> {
        self.writable(&self.options(at_once)).await
    }

    /// Waits for `--retry-for` until a standby is promoted.
    pub(in crate::cli) async fn writable(&self, options: &Options) -> Result<Database, Failure> {
        let until = Instant::now() + self.global.retry_for;
        let mut told = false;
        let _spinner = self.progress().spinner("connecting");
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
}

/// Without its file the schema is not migrated.
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
