//! One IMPORT: a statement and its job.
//!
//! The job survives the statement and has the result. So the statement is sent once. If it fails or
//! its answer is lost, the job is looked up.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::sqlstate;
use sea_orm::{ConnectionTrait, DbErr, Value};
use sea_orm_retry::{Class, Tx};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::bank::query::{fetch_all, statement};
use crate::bank::{ReadError, Runner};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a job is seen ended before the statement's answer counts as lost.
const OVER_MAX: u32 = 10;

pub(super) struct Jobs<'a> {
    /// For polling.
    pub(super) runner: &'a Runner,
    /// For statements without a timeout.
    pub(super) long: &'a Runner,
    /// Cancelled to cancel the job.
    pub(super) stop: &'a CancellationToken,
}

pub(super) struct Import<'a> {
    pub(super) url: &'a str,
    pub(super) table: &'a str,
    /// The columns of the file, in order.
    pub(super) columns: &'a str,
    pub(super) format: Format,
    /// A text that is unique to the import and in no file. It identifies the job.
    pub(super) mark: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// CSV with a header.
    Csv,
    /// Lines of text, each for one column.
    Lines { max: Option<u32> },
}

impl Import<'_> {
    /// The statement, with the URL as `$1`. The `nullif` option only carries the mark into the
    /// job's description.
    fn text(&self) -> String {
        let Self { table, columns, mark, .. } = self;
        let format = match self.format {
            Format::Csv => format!("CSV DATA ($1) WITH skip = '1', nullif = '{mark}'"),
            Format::Lines { max } => {
                let max = max.map(|max| format!(", row_limit = '{max}'")).unwrap_or_default();
                // No text contains this byte, so a line is one field.
                format!(r"DELIMITED DATA ($1) WITH fields_terminated_by = e'\x01'{max}")
            }
        };
        format!("IMPORT INTO {table} ({columns}) {format}")
    }
}

/// Why an import added nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The server refused the statement. No job exists.
    #[error("the server refused the import: {}", database::reason(.0))]
    Refused(DbErr),
    /// The job failed.
    #[error("import job {id} has {status}: {reason}")]
    Ended {
        /// The job's number.
        id: i64,
        /// Such as `failed`.
        status: String,
        /// The server's reason.
        reason: String,
    },
    /// The answer was lost, and no job is known. One may still appear.
    #[error("the connection was lost before the import job was known")]
    Lost,
    /// The job cannot be polled. It may be running.
    #[error("the import job cannot be polled: {0}")]
    Unwatched(ReadError),
}

struct Job {
    id: i64,
    status: String,
    fraction: f64,
    reason: String,
}

impl Job {
    fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "failed" | "canceled" | "revert-failed")
    }
}

impl Jobs<'_> {
    pub(super) async fn import(
        &self,
        import: &Import<'_>,
        mut progress: impl FnMut(f64),
    ) -> Result<(), JobError> {
        progress(0.0);
        let mut cancelled = None;
        let mut over = 0;
        let mut statement = pin!(self.send(import));
        let error = loop {
            tokio::select! {
                answer = &mut statement => match answer {
                    Ok(()) => return Ok(()),
                    Err(error) => break error,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {
                    // The statement's answer counts. If it does not arrive although the job has
                    // ended, the connection is lost.
                    if let Ok(Some(job)) = self.last_of(import).await {
                        self.cancel_where_stopped(&job, &mut cancelled).await;
                        progress(job.fraction);
                        over += u32::from(job.is_over());
                        if over == OVER_MAX {
                            break JobError::Lost;
                        }
                    }
                }
            }
        };
        // If the statement failed, its job may be running.
        let job = self.last_of(import).await?.ok_or(error)?;
        match self.follow(job, progress).await? {
            job if job.status == "succeeded" => Ok(()),
            job => Err(JobError::Ended { id: job.id, status: job.status, reason: job.reason }),
        }
    }

    pub(super) async fn wait_for_others(
        &self,
        table: &str,
        mut progress: impl FnMut(f64),
    ) -> Result<(), JobError> {
        while let Some(job) = self.of(table, "").await?.into_iter().find(|job| !job.is_over()) {
            self.follow(job, &mut progress).await?;
        }
        Ok(())
    }

    /// Sends the statement once. IMPORT does not run in a transaction.
    async fn send(&self, import: &Import<'_>) -> Result<(), JobError> {
        let sql = import.text();
        let (sent, refusal) = (AtomicBool::new(false), Mutex::new(None));
        let answer = self.long.query("import job", async |tx: &Tx| {
            // The runner retries some errors.
            if sent.swap(true, Ordering::Relaxed) {
                return Err(DbErr::Custom("it is sent once".to_owned()));
            }
            // The URL may contain a cloud's keys, which no log shows.
            database::log_statement(&sql);
            let unlogged = NoSubscriber::default();
            let answer =
                tx.execute_raw(statement(tx, &sql, [import.url.into()])).with_subscriber(unlogged).await;
            if let Err(error) = &answer
                && is_refusal(error)
            {
                *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
            answer.map(drop)
        });
        let answered = answer.await.is_ok();
        let refusal = refusal.into_inner().unwrap_or_else(PoisonError::into_inner);
        if answered { Ok(()) } else { Err(refusal.map_or(JobError::Lost, JobError::Refused)) }
    }

    async fn follow(&self, mut job: Job, mut progress: impl FnMut(f64)) -> Result<Job, JobError> {
        let mut cancelled = None;
        while !job.is_over() {
            self.cancel_where_stopped(&job, &mut cancelled).await;
            progress(job.fraction);
            tokio::time::sleep(LOOK_EVERY).await;
            let jobs = self.jobs(format!("{JOBS} SELECT {}]", job.id), []).await?;
            job = jobs.into_iter().next_back().ok_or(JobError::Lost)?;
        }
        Ok(job)
    }

    /// Cancels a job, once, after `stop`. The server takes its time.
    async fn cancel_where_stopped(&self, job: &Job, cancelled: &mut Option<i64>) {
        if !self.stop.is_cancelled() || *cancelled == Some(job.id) {
            return;
        }
        let sql = format!("CANCEL JOB {}", job.id);
        match self.runner.query("cancel job", async |tx| tx.execute_unprepared(&sql).await).await {
            Ok(_) => *cancelled = Some(job.id),
            Err(error) => tracing::warn!(job = job.id, %error, "the import job is not cancelled yet"),
        }
    }

    async fn last_of(&self, import: &Import<'_>) -> Result<Option<Job>, JobError> {
        Ok(self.of(import.table, import.mark).await?.into_iter().next_back())
    }

    /// The jobs that import into a table and whose statement contains a text, oldest first.
    async fn of(&self, table: &str, text: &str) -> Result<Vec<Job>, JobError> {
        // A description is the statement. SHOW JOBS shortens it since v24.1, except for jobs chosen
        // by id.
        let sql = format!(
            "{JOBS} SELECT job_id FROM [SHOW JOBS] WHERE job_type = 'IMPORT'] \
             WHERE description LIKE 'IMPORT INTO ' || quote_ident(current_database()) || '.%' \
             AND description LIKE '%.' || $1 || '(%' AND description LIKE '%' || $2 || '%' ORDER BY job_id"
        );
        self.jobs(sql, [table.into(), text.into()]).await
    }

    async fn jobs<const N: usize>(&self, sql: String, values: [Value; N]) -> Result<Vec<Job>, JobError> {
        let rows = self
            .runner
            .query("jobs", async |tx| fetch_all(tx, sql, values).await)
            .await
            .map_err(JobError::Unwatched)?;
        let job = |row: sea_orm::QueryResult| {
            Ok(Job {
                id: row.try_get("", "job_id")?,
                status: row.try_get("", "status")?,
                fraction: row.try_get::<Option<f64>>("", "fraction_completed")?.unwrap_or(0.0),
                reason: row.try_get::<Option<String>>("", "error")?.unwrap_or_default().replace('\n', " "),
            })
        };
        let jobs: Result<Vec<Job>, DbErr> = rows.into_iter().map(job).collect();
        jobs.map_err(JobError::Refused)
    }
}

const JOBS: &str = "SELECT job_id, status, fraction_completed, error FROM [SHOW JOBS";

/// Whether this is the answer to the statement. After a cancellation or a shutdown the job may be
/// running.
fn is_refusal(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|code| {
        code == UNCATEGORIZED || (code != QUERY_CANCELED && Class::of(error) != Class::Lost)
    })
}

const QUERY_CANCELED: &str = "57014";

/// CockroachDB's code for errors without a code: most failures of an IMPORT.
const UNCATEGORIZED: &str = "XXUUU";
