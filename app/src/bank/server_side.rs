//! Imports accounts from a file that CockroachDB reads itself, by its IMPORT.
//!
//! IMPORT checks no constraint, merges equal rows, takes its table offline, and survives its
//! client. So the file goes to a staging table first, where whatever is wrong shows before any
//! account changes. Then its rows reach the accounts:
//!
//! - by IMPORT, if the file has opening balances, no account exists already, and the server accepts
//!   it (v20.1 refuses any table with a DEFAULT). Constraints are validated afterwards.
//! - otherwise by INSERT … SELECT, in idempotent chunks. The table stays online.

mod job;
mod staging;

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use crate::bank::Error;
use database::Server;
use futures_util::stream::{self, Stream};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::Tx;

use super::import::Imported;
use super::import::header::{Kind, read_header};
use super::load::{Chunk, LoadError, Loaded, Loading, load};
use super::query::fetch_all;
use super::{Bank, ReadError, csv};
use job::{Format, Import, Jobs};
use staging::{Present, Staging};

pub use job::JobError;

/// The lines that are searched for the header. Empty lines may precede it.
const LINES_MAX: u32 = 10;

/// A step of an import.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Waiting for another import into the accounts. Fractions are from 0 to 1.
    Waiting(f64),
    /// Importing the file into the staging table.
    Reading(f64),
    /// Checking the staging table.
    Checking,
    /// Importing the file into the accounts, which are offline.
    Offline(f64),
    /// The server refused that, with its reason.
    Refused(String),
    /// Validating the constraints.
    Validating,
    /// Copying the accounts in chunks. The table is online.
    Adding {
        /// So far.
        imported: Imported,
        /// The number of all rows.
        of: u64,
    },
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServerSideError {
    /// The server has no IMPORT.
    #[error("only CockroachDB imports files itself; this is {0}")]
    Unsupported(Server),
    /// The header is unknown. Nothing is changed.
    #[error("{0}")]
    Header(String),
    /// A row was rejected. Nothing is changed.
    #[error("{0}")]
    Rejected(String),
    /// A job failed and added nothing.
    #[error("{0}")]
    Job(#[from] JobError),
    /// A read failed.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// A chunk was not applied. Earlier ones stay.
    #[error("{0}")]
    Load(Box<Error<LoadError>>),
    /// The file or the accounts changed after they were checked. The imported rows stay.
    #[error("{0}")]
    Changed(String),
}

impl Bank {
    /// Imports accounts from a URL that the server can read. `long`: a bank on the same database
    /// without a statement timeout.
    ///
    /// # Errors
    ///
    /// A [`ServerSideError`], with what is applied.
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
            tracing::warn!(table = import.staging.name, %error, "a staging table was not dropped");
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
        let check = self.long.runner.query("check", async |tx| self.staging.check(tx).await).await?;
        if let Some(reason) = check.rejection {
            self.added.rejected = 1;
            return Err(ServerSideError::Rejected(reason));
        }
        if loading.stop.is_cancelled() {
            return Ok(());
        }

        let has_openings = self.staging.columns.contains("opening_balance");
        if has_openings && check.present == 0 && check.rows > 0 {
            match self.import("accounts", |done| progress(Step::Offline(done))).await {
                Ok(()) => {
                    self.added.rows = check.rows;
                    progress(Step::Validating);
                    return self.validate().await;
                }
                Err(JobError::Refused(error)) => {
                    progress(Step::Refused(database::reason(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.add(check.rows, loading, progress).await?;
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

    async fn header(&self) -> Result<String, ServerSideError> {
        let lines = self.first_lines().await?;
        let mut reader = csv::Reader::new(lines.as_bytes());
        let header = read_header(&mut reader).map_err(ServerSideError::Header)?;
        match header.kind {
            Kind::Accounts => {
                Ok(["id", "balance", "opening_balance", "created_at"][..header.fields].join(", "))
            }
            Kind::Transfers => Err(ServerSideError::Header(
                "its rows are transfers, but the server imports only accounts".to_owned(),
            )),
        }
    }

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
            // The option is newer than IMPORT INTO.
            Err(JobError::Refused(_)) => read(None).await?,
            read => read?,
        }
        Ok(long.query("lines", async |tx| self.staging.lines(tx, LINES_MAX).await).await?)
    }

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
        let sum = |loaded: &Loaded<Present>| progress(Step::Adding { imported: imported(loaded), of });
        let loaded = load(&self.bank.runner, &self.staging, loading, chunks, sum).await;
        let (loaded, failed) = match loaded {
            Ok(loaded) => (loaded, None),
            Err((error, loaded)) => (loaded, Some(ServerSideError::Load(Box::new(error)))),
        };
        self.added = imported(&loaded);
        let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner).map(ServerSideError::Read);
        failed.or(broken).map_or(Ok(()), Err)
    }

    /// The keys of the staging table in chunks. An error ends them and is stored in `broken`.
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

/// A table's unvalidated constraints.
async fn unvalidated(tx: &Tx, table: &str) -> Result<Vec<String>, DbErr> {
    let sql = format!(
        "SELECT constraint_name FROM [SHOW CONSTRAINTS FROM {table}] WHERE NOT validated ORDER BY constraint_name"
    );
    let rows = fetch_all(tx, sql, []).await?;
    rows.iter().map(|row| row.try_get("", "constraint_name")).collect()
}
