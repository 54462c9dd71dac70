//! One IMPORT of CockroachDB: a statement, and the job behind it.
//!
//! The job is the server's. It goes on when the statement that began it is cut off, cancelled or timed out, and it is the
//! job that says what became of it. So the statement is sent once. If it fails or its answer is lost, the job is looked for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::sqlstate;
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use sea_orm_retry::{Class, Tx};
use tokio_util::sync::CancellationToken;

use crate::bank::{ReadError, Runner};

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a job is seen to be over before its statement's answer is waited for no longer.
const OVER_MAX: u32 = 10;

/// Where jobs are run and watched.
pub(super) struct Jobs<'a> {
    /// For looking at them.
    pub(super) runner: &'a Runner,
    /// For statements that take as long as they take.
    pub(super) long: &'a Runner,
    /// Where this is cancelled the job on its way is too.
    pub(super) stop: &'a CancellationToken,
}

/// What to import.
pub(super) struct Import<'a> {
    pub(super) url: &'a str,
    pub(super) table: &'a str,
    /// The table's columns that are filled, in the file's order.
    pub(super) columns: &'a str,
    pub(super) format: Format,
    /// A text that no file has and no other import: by it the import's job is known.
    pub(super) mark: &'a str,
}

/// How the server reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As CSV whose first line is a header.
    Csv,
    /// As lines, each of which fills one column as it stands.
    Lines {
        /// How many of them are read, where not all are.
        max: Option<u32>,
    },
}

impl Import<'_> {
    /// The statement, in which `$1` is the URL. An option says how NULL is written, in a way that no field is: it stands in the job's
    /// description.
    fn text(&self) -> String {
        let Self { table, columns, mark, .. } = self;
        let format = match self.format {
            Format::Csv => format!("CSV DATA ($1) WITH skip = '1', nullif = '{mark}'"),
            Format::Lines { max } => {
                let max = max.map(|max| format!(", row_limit = '{max}'")).unwrap_or_default();
                // A byte that no text has ends a field: so no line has two.
                format!(r"DELIMITED DATA ($1) WITH fields_terminated_by = e'\x01'{max}")
            }
        };
        format!("IMPORT INTO {table} ({columns}) {format}")
    }
}

/// Why an import put nothing in its table.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The statement was refused, in the server's words; no job was begun.
    #[error("the server does not import it: {}", database::reason(.0))]
    Refused(DbErr),
    /// The job ended otherwise than well, in the server's words.
    #[error("the server has not imported it, its job {id} has {status}: {reason}")]
    Ended {
        /// The job's number.
        id: i64,
        /// As in `failed`.
        status: String,
        /// In the server's words.
        reason: String,
    },
    /// The statement's answer was lost, and there is no job of it: perhaps not yet.
    #[error("the connection was lost before its job was known")]
    Lost,
    /// The job could not be looked at any more. It may be going on.
    #[error("its job could not be watched: {0}")]
    Unwatched(ReadError),
}

/// What is known of a job.
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
    /// Imports, telling `progress` what fraction is done.
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
                    // Looking is a courtesy here: the statement's answer is what counts. Where that does not come although
                    // the job is over, its connection is lost.
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
        // Whatever the statement has met, its job goes on, if there is one.
        let job = self.last_of(import).await?.ok_or(error)?;
        match self.follow(job, progress).await? {
            job if job.status == "succeeded" => Ok(()),
            job => Err(JobError::Ended { id: job.id, status: job.status, reason: job.reason }),
        }
    }

    /// Waits until no import into a table is on its way.
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

    /// Sends the statement, once. An IMPORT cannot be a part of a transaction.
    async fn send(&self, import: &Import<'_>) -> Result<(), JobError> {
        let sql = import.text();
        let (sent, refusal) = (AtomicBool::new(false), Mutex::new(None));
        let answer = self.long.query("import job", async |tx: &Tx| {
            // The runner tries some errors again.
            if sent.swap(true, Ordering::Relaxed) {
                return Err(DbErr::Custom("it is sent once".to_owned()));
            }
            let url = import.url.into();
            let statement = Statement::from_sql_and_values(tx.get_database_backend(), &sql, [url]);
            let answer = tx.execute_raw(statement).await;
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

    /// Looks at a job until it is over.
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

    /// Asks for the end of a job, once, where the whole was stopped. The server takes its time.
    async fn cancel_where_stopped(&self, job: &Job, cancelled: &mut Option<i64>) {
        if !self.stop.is_cancelled() || *cancelled == Some(job.id) {
            return;
        }
        let sql = format!("CANCEL JOB {}", job.id);
        match self.runner.query("cancel job", async |tx| tx.execute_unprepared(&sql).await).await {
            Ok(_) => *cancelled = Some(job.id),
            Err(error) => tracing::warn!(job = job.id, %error, "not cancelled yet"),
        }
    }

    /// The job of an import, where there is one.
    async fn last_of(&self, import: &Import<'_>) -> Result<Option<Job>, JobError> {
        Ok(self.of(import.table, import.mark).await?.into_iter().next_back())
    }

    /// The jobs that import into a table by statements that hold a text; the last one last.
    async fn of(&self, table: &str, text: &str) -> Result<Vec<Job>, JobError> {
        // A job's description is its statement, with the table's whole name in it. SHOW JOBS shortens it since v24.1, but not that of jobs that
        // are chosen by their ids.
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
            .query("jobs", async |tx| {
                let backend = tx.get_database_backend();
                tx.query_all_raw(Statement::from_sql_and_values(backend, &sql, values)).await
            })
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

/// The beginning of a query for jobs that are chosen by their ids.
const JOBS: &str = "SELECT job_id, status, fraction_completed, error FROM [SHOW JOBS";

/// Whether it is the server's answer to the statement. Not that it was cancelled or that the server leaves: then its job may go on.
fn is_refusal(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|code| {
        code == UNCATEGORIZED || (code != QUERY_CANCELED && Class::of(error) != Class::Lost)
    })
}

const QUERY_CANCELED: &str = "57014";

/// CockroachDB's code for errors that have none: nearly every failure of an IMPORT.
const UNCATEGORIZED: &str = "XXUUU";
