//! Executes a command, and repeats it while another session is in the way.

use std::time::{Duration, Instant};

use database::{Database, answered};
use rand::RngExt;
use sea_orm_migration::MigratorTrait;

use crate::command::Task;
use crate::{Command, Error, Migrator, Report, lock, state, tables};

const ATTEMPTS_MAX: u32 = 20;
const TOTAL_MAX: Duration = Duration::from_secs(60);

/// Applies pending migrations; returns how many.
///
/// # Errors
///
/// See [`Error`]. On SQLite and PostgreSQL nothing is applied then; on CockroachDB earlier
/// migrations may be.
pub async fn up(database: &Database) -> Result<usize, Error> {
    run::<Migrator>(database, Command::Up(None)).await.map(|report| report.applied.len())
}

/// Executes a command with the migrations of `M`.
///
/// # Errors
///
/// As [`up`].
pub async fn run<M: MigratorTrait>(database: &Database, command: Command) -> Result<Report, Error> {
    let started = Instant::now();
    let mut task = Task::new(command);
    for attempt in 1.. {
        let error = match attempt_once::<M>(database, &mut task).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        let busy = matches!(error, Error::Busy { .. } | Error::Throttled { .. });
        if attempt == ATTEMPTS_MAX || started.elapsed() > TOTAL_MAX || !busy {
            return Err(error);
        }
        let wait = Duration::from_millis(rand::rng().random_range(10..=250));
        tracing::info!(attempt, %error, ?wait, "the schema is busy: retrying");
        tokio::time::sleep(wait).await;
    }
    unreachable!("the loop ends with its last attempt")
}

/// Checks the database, then takes the lock.
async fn attempt_once<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, Error> {
    if !task.has_begun() {
        // `fresh` also drops tables that no migration knows.
        if task.command != Command::Fresh {
            let selected = task.command.selected(state::status_of::<M>(database).await?);
            if selected.is_empty() && task.command != Command::Refresh {
                // Needs neither the lock nor the right to create.
                return Ok(Report::default());
            }
            refuse_standby(database)?;
            state::check_names(database, &selected).await?;
        }
        refuse_standby(database)?;
        state::check_search_path(database).await?;
        database.use_wal().await;
    }
    match lock::attempt::<M>(database, task).await {
        Ok(report) => Ok(report),
        Err(error) => Err(Error::of(database, error).await),
    }
}

fn refuse_standby(database: &Database) -> Result<(), Error> {
    if database.is_standby { Err(Error::Standby) } else { Ok(()) }
}

/// The tables that [`Command::Fresh`] would drop.
///
/// # Errors
///
/// As [`up`].
pub async fn droppable(database: &Database) -> Result<Vec<String>, Error> {
    match answered(tables::list(&database.connection)).await {
        Ok(tables) => Ok(tables),
        Err(error) => Err(Error::of(database, error).await),
    }
}
