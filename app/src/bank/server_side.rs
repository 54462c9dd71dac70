//! Adding the accounts of a file that CockroachDB reads by itself, with its IMPORT.
//!
//! IMPORT is quick and knows no transaction: it checks no constraint, takes rows that are equal for one, has its table offline
//! meanwhile, and is a job that goes on when whoever began it is gone. So the file is imported to staging tables first: its first lines as text, which
//! say the columns, then all of it with these columns. There whatever is wrong with it shows before any account is touched. Then its
//! rows go to the accounts:
//!
//! - by IMPORT too, where the file has the opening balances, none of its accounts is there already, and the server takes it
//!   (v20.1 refuses every table with a DEFAULT); its constraints are validated afterwards;
//! - else from the staging table by INSERT … SELECT, in chunks that are each applied once; then accounts stays online.

mod job;
mod staging;

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use crate::bank::Error;
use database::Server;
use futures_util::stream::{self, Stream};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_retry::Tx;

use super::import::Imported;
use super::import::header::{Kind, read_header};
use super::load::{Chunk, LoadError, Loaded, Loading, load};
use super::{Bank, ReadError, csv};
use job::{Format, Import, Jobs};
use staging::{Present, Staging};

pub use job::JobError;

/// How many lines are read to find the header: empty ones may stand before it.
const LINES_MAX: u32 = 10;

/// What an import is at, as it is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Another import into the accounts is on its way and waited for; so much of it is done, from 0 to 1.
    Waiting(f64),
    /// The file is read to a table of its own.
    Reading(f64),
    /// Its accounts are looked at there.
    Checking,
    /// The server reads it into the accounts, which nobody else can use meanwhile.
    Offline(f64),
    /// The server refuses to, in its words: the table may be locked, or of a kind that it does not import.
    Refused(String),
    /// The constraints that it did not check are validated.
    Validating,
    /// The accounts are added in chunks; nothing is offline.
    Adding {
        /// So far.
        imported: Imported,
        /// How many there are in all.
        of: u64,
    },
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServerSideError {
    /// Another server has no such thing.
    #[error("only CockroachDB reads files by itself, and this is {0}")]
    Unsupported(Server),
    /// It has no header that is known. Nothing is changed.
    #[error("{0}")]
    Header(String),
    /// A row of it cannot be added. Nothing is changed.
    #[error("{0}")]
    Rejected(String),
    /// A job put nothing in its table.
    #[error("{0}")]
    Job(#[from] JobError),
    /// What is there could not be looked at.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// A chunk was not applied. Those before stay.
    #[error("{0}")]
    Load(Box<Error<LoadError>>),
    /// The file, or the accounts, are not what they were when they were looked at. What was imported is there.
    #[error("{0}")]
    Changed(String),
}

impl Bank {
    /// Adds the accounts of a file that the server reads, from a URL that the server knows, telling `progress` how it
    /// goes. `long` is a bank on the same database whose statements take as long as they take.
    ///
    /// # Errors
    ///
    /// A [`ServerSideError`], with what is in place.
    pub async fn import_on_server(
        &self,
        long: &Self,
        url: &str,
        loading: &Loading,
        mut progress: impl FnMut(Step),
    ) -> Result<Imported, (ServerSideError, Imported)> {
        if self.runner.server() != Server::Cockroach {
            let error = ServerSideError::Unsupported(self.runner.server());
            return Err((error, Imported::default()));
        }
        let jobs = Jobs { runner: &self.runner, long: &long.runner, stop: &loading.stop };
        let mut import =
            ServerSide { bank: self, long, jobs, url, staging: Staging::new(), added: Imported::default() };
        let ended = import.run(loading, &mut progress).await;
        let dropped = long.runner.query("drop staging", async |tx| import.staging.drop(tx).await).await;
        if let Err(error) = dropped {
            tracing::warn!(table = import.staging.name, %error, "a table of the import's own is left");
        }
        match ended {
            Err(error) if !loading.stop.is_cancelled() => Err((error, import.added)),
            _ => Ok(import.added),
        }
    }
}

struct ServerSide<'a> {
    bank: &'a Bank,
    long: &'a Bank,
    jobs: Jobs<'a>,
    url: &'a str,
    staging: Staging,
    /// What is in place.
    added: Imported,
}

impl ServerSide<'_> {
    async fn run(
        &mut self,
        loading: &Loading,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), ServerSideError> {
        self.jobs.wait_for_others("accounts", |done| progress(Step::Waiting(done))).await?;
        self.long.runner.query("create staging", async |tx| self.staging.create(tx).await).await?;
        self.staging.columns = self.header().await?;
        self.import(&self.staging.name, |done| progress(Step::Reading(done))).await?;

        progress(Step::Checking);
        let standing = self.long.runner.query("standing", async |tx| self.staging.standing(tx).await).await?;
        if let Some(reason) = standing.in_the_way {
            self.added.rejected = 1;
            return Err(ServerSideError::Rejected(reason));
        }
        if loading.stop.is_cancelled() {
            return Ok(());
        }

        let has_openings = self.staging.columns.contains("opening_balance");
        if has_openings && standing.present == 0 && standing.rows > 0 {
            match self.import("accounts", |done| progress(Step::Offline(done))).await {
                Ok(()) => {
                    self.added.rows = standing.rows;
                    progress(Step::Validating);
                    return self.validate().await;
                }
                Err(JobError::Refused(error)) => {
                    progress(Step::Refused(database::reason(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.add(standing.rows, loading, progress).await?;
        let conflict = self.long.runner.query("conflict", async |tx| self.staging.conflict(tx).await).await?;
        match conflict {
            None => Ok(()),
            Some(reason) => Err(ServerSideError::Changed(reason)),
        }
    }

    async fn import(&self, table: &str, progress: impl FnMut(f64)) -> Result<(), JobError> {
        let import = Import {
            url: self.url,
            table,
            columns: &self.staging.columns,
            format: Format::Csv,
            mark: &self.staging.name,
        };
        self.jobs.import(&import, progress).await
    }

    /// The columns that the file's header names.
    async fn header(&self) -> Result<String, ServerSideError> {
        let lines = self.first_lines().await?;
        let mut reader = csv::Reader::new(lines.as_bytes());
        let header = read_header(&mut reader).map_err(ServerSideError::Header)?;
        match header.kind {
            Kind::Accounts => {
                Ok(["id", "balance", "opening_balance", "created_at"][..header.fields].join(", "))
            }
            Kind::Transfers => Err(ServerSideError::Header(
                "its rows are transfers, and a server reads accounts only".to_owned(),
            )),
        }
    }

    /// The file's first lines, by an import of their own.
    async fn first_lines(&self) -> Result<String, ServerSideError> {
        let long = &self.long.runner;
        long.query("create lines", async |tx| self.staging.create_lines(tx).await).await?;
        let table = &self.staging.lines_name();
        let read = async |max| {
            let import =
                Import { url: self.url, table, columns: "line", format: Format::Lines { max }, mark: table };
            self.jobs.import(&import, |_| ()).await
        };
        match read(Some(LINES_MAX)).await {
            // The option is younger than IMPORT INTO.
            Err(JobError::Refused(_)) => read(None).await?,
            read => read?,
        }
        Ok(long.query("lines", async |tx| self.staging.lines(tx, LINES_MAX).await).await?)
    }

    /// Adds what is in the staging table, in chunks.
    async fn add(
        &mut self,
        of: u64,
        loading: &Loading,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), ServerSideError> {
        let imported = |loaded: &Loaded<Present>| Imported {
            rows: loaded.rows,
            found: loaded.found,
            present: loaded.done.0,
            chunks: loaded.chunks,
            rejected: 0,
        };
        let broken = Mutex::new(None);
        let chunks = self.chunks(loading.chunk, &broken);
        let told = |loaded: &Loaded<Present>| progress(Step::Adding { imported: imported(loaded), of });
        let loaded = load(&self.bank.runner, &self.staging, loading, chunks, told).await;
        let (loaded, failed) = match loaded {
            Ok(loaded) => (loaded, None),
            Err((error, loaded)) => (loaded, Some(ServerSideError::Load(Box::new(error)))),
        };
        self.added = imported(&loaded);
        let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner).map(ServerSideError::Read);
        failed.or(broken).map_or(Ok(()), Err)
    }

    /// The keys in the staging table, chunk by chunk. What ends them early is left behind.
    fn chunks(
        &self,
        size: NonZero<usize>,
        broken: &Mutex<Option<ReadError>>,
    ) -> impl Stream<Item = Chunk<i64>> {
        stream::unfold((0, None), move |(place, after)| async move {
            let chunk = self
                .bank
                .runner
                .query("chunk", async |tx| self.staging.chunk(tx, place, after, size.get()).await);
            match chunk.await {
                Ok(chunk) => chunk.map(|chunk| {
                    let last = chunk.rows.last().copied();
                    (chunk, (place + 1, last))
                }),
                Err(error) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        })
    }

    /// Validates what IMPORT leaves unchecked: of the accounts, and of those that refer to them.
    async fn validate(&self) -> Result<(), ServerSideError> {
        for table in ["accounts", "transfers"] {
            let constraints =
                self.long.runner.query("constraints", async |tx| unvalidated(tx, table).await).await?;
            for constraint in constraints {
                let sql = format!("ALTER TABLE {table} VALIDATE CONSTRAINT \"{constraint}\"");
                let validated =
                    self.long.runner.query("validate", async |tx| tx.execute_unprepared(&sql).await).await;
                match validated {
                    Ok(_) => {}
                    Err(Error::Database { error, .. }) => {
                        return Err(ServerSideError::Changed(database::reason(&error)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// The names of a table's constraints that may not hold.
async fn unvalidated(tx: &Tx, table: &str) -> Result<Vec<String>, DbErr> {
    let sql = format!(
        "SELECT constraint_name FROM [SHOW CONSTRAINTS FROM {table}] WHERE NOT validated ORDER BY constraint_name"
    );
    let rows = tx.query_all_raw(Statement::from_string(tx.get_database_backend(), sql)).await?;
    rows.iter().map(|row| row.try_get("", "constraint_name")).collect()
}
