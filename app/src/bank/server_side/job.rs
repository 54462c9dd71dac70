//! One IMPORT of CockroachDB: a statement, and the job behind it.
//!
//! The job is the server's. It goes on when the statement that began it is cut off, cancelled or timed out, and it is the
//! job that says what became of it. So the statement is sent once; where its answer is lost the job is looked for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::bank::{Error, Runner};
use database::sqlstate;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_retry::Tx;
use tokio_util::sync::CancellationToken;

use crate::bank::ReadError;

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// The table's columns that the file has fields for, in the file's order.
    pub(super) columns: &'a str,
    /// Whether the file's first line is no row.
    pub(super) skip_header: bool,
}

/// Why an import put nothing in its table.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The server's words.
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
        matches!(self.status.as_str(), "succeeded" | "failed" | "canceled")
    }
}

impl Jobs<'_> {
    /// Imports, telling `progress` what fraction is done.
    pub(super) async fn import(
        &self,
        import: &Import<'_>,
        mut progress: impl FnMut(f64),
    ) -> Result<(), JobError> {
        let earlier = self.of(import.table, &[]).await?;
        let earlier: Vec<i64> = earlier.iter().map(|job| job.id).collect();
        progress(0.0);
        let mut cancelled = None;
        let mut statement = pin!(self.send(import));
        loop {
            tokio::select! {
                answer = &mut statement => match answer {
                    Err(JobError::Lost) => break,
                    answer => return answer,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {
                    // Looking is a courtesy here: the statement's answer is what counts.
                    if let Ok(jobs) = self.of(import.table, &earlier).await
                        && let Some(job) = jobs.into_iter().next_back()
                    {
                        self.cancel_where_stopped(&job, &mut cancelled).await;
                        progress(job.fraction);
                    }
                }
            }
        }
        let job = self.of(import.table, &earlier).await?.into_iter().next_back().ok_or(JobError::Lost)?;
        match self.follow(import.table, job, progress).await? {
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
        while let Some(job) = self.of(table, &[]).await?.into_iter().find(|job| !job.is_over()) {
            self.follow(table, job, &mut progress).await?;
        }
        Ok(())
    }

    /// Sends the statement, once. An IMPORT cannot be a part of a transaction.
    async fn send(&self, import: &Import<'_>) -> Result<(), JobError> {
        let Import { url, table, columns, skip_header } = import;
        let skip = if *skip_header { " WITH skip = '1'" } else { "" };
        let sql = format!("IMPORT INTO {table} ({columns}) CSV DATA ($1){skip}");
        let sent = AtomicBool::new(false);
        let answer = self.long.query("import job", async |tx: &Tx| {
            if sent.swap(true, Ordering::Relaxed) {
                return Err(JobError::Lost);
            }
            let text = (*url).into();
            let statement = Statement::from_sql_and_values(tx.get_database_backend(), &sql, [text]);
            tx.execute_raw(statement).await.map(drop).map_err(JobError::Refused)
        });
        match answer.await {
            Ok(()) => Ok(()),
            Err(Error::Body(error)) => Err(error),
            // query_canceled: the statement is, and not its job.
            Err(Error::Database { error, .. }) if sqlstate(&error).as_deref() == Some("57014") => {
                Err(JobError::Lost)
            }
            Err(Error::Database { error, .. }) => Err(JobError::Refused(error)),
            Err(_) => Err(JobError::Lost),
        }
    }

    /// Looks at a job until it is over.
    async fn follow(
        &self,
        table: &str,
        mut job: Job,
        mut progress: impl FnMut(f64),
    ) -> Result<Job, JobError> {
        let mut cancelled = None;
        while !job.is_over() {
            self.cancel_where_stopped(&job, &mut cancelled).await;
            progress(job.fraction);
            tokio::time::sleep(LOOK_EVERY).await;
            let jobs = self.of(table, &[]).await?;
            job = jobs.into_iter().find(|it| it.id == job.id).ok_or(JobError::Lost)?;
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

    /// The jobs that import into a table, but for some; the last one last.
    async fn of(&self, table: &str, but_for: &[i64]) -> Result<Vec<Job>, JobError> {
        // The server keeps a job's statement with the table's whole name in it.
        let sql = "SELECT job_id, status, fraction_completed, error FROM [SHOW JOBS] WHERE job_type = 'IMPORT' \
            AND description LIKE 'IMPORT INTO ' || quote_ident(current_database()) || '.%' \
            AND description LIKE '%.' || $1 || '(%' ORDER BY job_id";
        let rows = self
            .runner
            .query("jobs", async |tx| {
                let backend = tx.get_database_backend();
                tx.query_all_raw(Statement::from_sql_and_values(backend, sql, [table.into()])).await
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
        let mut jobs = jobs.map_err(JobError::Refused)?;
        jobs.retain(|job| !but_for.contains(&job.id));
        Ok(jobs)
    }
}
