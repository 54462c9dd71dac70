//! Carries out one command: in its turn, again where somebody else was in the way, to the end or not at all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use database::{Database, answered};
use rand::RngExt;
use sea_orm_migration::prelude::{Expr, ExprTrait, LikeExpr, Query, Table};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{IntoSchemaManagerConnection, MigratorTrait};

use crate::{Error, Migrator, state, turn};

const ATTEMPTS_MAX: u32 = 20;
const TOTAL_MAX: Duration = Duration::from_secs(60);

/// What to do with the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Apply what is pending, at most so many.
    Up(Option<u32>),
    /// Roll back the newest that are applied, at most so many.
    Down(Option<u32>),
    /// Drop all tables, whoever made them, then apply all.
    Fresh,
    /// Roll back all that are applied, then apply all.
    Refresh,
    /// Roll back all that are applied, and drop the migration table.
    Reset,
}

impl Command {
    /// The migrations that it applies or rolls back.
    fn concerned(self, status: Vec<(String, bool)>) -> Vec<String> {
        let with = |wanted: bool| status.iter().filter(move |(_, applied)| *applied == wanted);
        let at_most = |num: Option<u32>| num.map_or(usize::MAX, |num| num as usize);
        let concerned: Vec<&(String, bool)> = match self {
            Self::Up(num) => with(false).take(at_most(num)).collect(),
            Self::Down(num) => with(true).rev().take(at_most(num)).collect(),
            Self::Fresh | Self::Refresh => status.iter().collect(),
            Self::Reset => with(true).collect(),
        };
        concerned.into_iter().map(|(name, _)| name.clone()).collect()
    }
}

/// What a command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The names of the migrations rolled back, newest first.
    pub rolled_back: Vec<String>,
    /// The names of the migrations applied, oldest first.
    pub applied: Vec<String>,
    /// The tables that [`Command::Fresh`] dropped.
    pub dropped: Vec<String>,
}

/// Applies what is pending; answers with how many that were.
///
/// # Errors
///
/// See [`Error`]. On SQLite and PostgreSQL nothing is applied then; on CockroachDB what came before may be.
pub async fn up(database: &Database) -> Result<usize, Error> {
    run::<Migrator>(database, Command::Up(None)).await.map(|report| report.applied.len())
}

/// Carries out a command with the migrations of `M`.
///
/// # Errors
///
/// As [`up`].
pub async fn run<M: MigratorTrait>(database: &Database, command: Command) -> Result<Report, Error> {
    let started = Instant::now();
    let mut task = Task { command, before: None, dropped: Vec::new() };
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
        tracing::info!(attempt, %error, ?wait, "not now: trying again");
        tokio::time::sleep(wait).await;
    }
    unreachable!("the loop ends with its last attempt")
}

/// Looks before it changes anything, then takes the turn.
async fn attempt_once<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, Error> {
    if task.before.is_none() {
        // Fresh drops even what it does not know.
        if task.command != Command::Fresh {
            let concerned = task.command.concerned(state::status_of::<M>(database).await?);
            if concerned.is_empty() && task.command != Command::Refresh {
                // Nothing to write, so no turn to wait for, and no right to create is needed.
                return Ok(Report::default());
            }
            refuse_standby(database)?;
            state::refuse_others(database, &concerned).await?;
        }
        refuse_standby(database)?;
        state::refuse_elsewhere(database).await?;
        database.use_wal().await;
    }
    match turn::take::<M>(database, task).await {
        Ok(report) => Ok(report),
        Err(error) => Err(Error::of(database, error).await),
    }
}

fn refuse_standby(database: &Database) -> Result<(), Error> {
    if database.is_standby { Err(Error::Standby) } else { Ok(()) }
}

/// A command, and what has to be remembered of it from one attempt to the next: on CockroachDB each statement stays.
pub(crate) struct Task {
    command: Command,
    before: Option<BTreeSet<String>>,
    dropped: Vec<String>,
}

impl Task {
    /// One attempt, with the turn held.
    pub(crate) async fn attempt<'c, M, C>(&mut self, connection: &'c C) -> Result<Report, DbErr>
    where
        M: MigratorTrait,
        C: ConnectionTrait,
        &'c C: IntoSchemaManagerConnection<'c>,
    {
        M::install(connection).await?;
        let now = state::names(connection).await?;
        let before = self.before.get_or_insert_with(|| now.clone()).clone();
        // Counted from what the first attempt found: `down -n 2` is two, however often it is tried.
        let steps = |num: Option<u32>, done: usize| {
            num.map(|num| num.saturating_sub(u32::try_from(done).unwrap_or(u32::MAX)))
        };
        match self.command {
            Command::Up(num) => M::up(connection, steps(num, now.difference(&before).count())).await?,
            Command::Down(num) => M::down(connection, steps(num, before.difference(&now).count())).await?,
            Command::Fresh => {
                self.drop_tables(connection).await?;
                M::up(connection, None).await?;
            }
            Command::Refresh => {
                M::down(connection, None).await?;
                M::up(connection, None).await?;
            }
            Command::Reset => {
                M::down(connection, None).await?;
                M::uninstall(connection).await?;
                return Ok(Report { rolled_back: before.into_iter().rev().collect(), ..Report::default() });
            }
        }
        let after = state::names(connection).await?;
        let (fresh, refresh) = (self.command == Command::Fresh, self.command == Command::Refresh);
        let gone = |name: &&String| !fresh && (refresh || !after.contains(*name));
        let new = |name: &&String| fresh || refresh || !before.contains(*name);
        Ok(Report {
            rolled_back: before.iter().rev().filter(gone).cloned().collect(),
            applied: after.iter().filter(new).cloned().collect(),
            dropped: std::mem::take(&mut self.dropped),
        })
    }

    /// All tables of the current schema but the one that says whose turn it is. Not SeaORM's own: that drops every
    /// type as well, and CockroachDB cannot.
    async fn drop_tables<C: ConnectionTrait>(&mut self, connection: &C) -> Result<(), DbErr> {
        if connection.get_database_backend() == DbBackend::Sqlite {
            // In a transaction the keys cannot be switched off, only looked at when all is done.
            connection.execute_unprepared("PRAGMA defer_foreign_keys = ON").await?;
        }
        for name in tables(connection).await? {
            connection.execute(&Table::drop().table(name.clone()).if_exists().cascade().take()).await?;
            self.dropped.push(name);
        }
        Ok(())
    }
}

/// The tables that [`Command::Fresh`] drops, whoever made them.
///
/// # Errors
///
/// As [`up`].
pub async fn droppable(database: &Database) -> Result<Vec<String>, Error> {
    match answered(tables(&database.connection)).await {
        Ok(tables) => Ok(tables),
        Err(error) => Err(Error::of(database, error).await),
    }
}

/// All tables of the current schema but the one that says whose turn it is.
async fn tables(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let list = if connection.get_database_backend() == DbBackend::Sqlite {
        Query::select()
            .column("name")
            .from("sqlite_master")
            .and_where(Expr::col("type").eq("table"))
            .and_where(Expr::col("name").not_like(LikeExpr::new("sqlite~_%").escape('~')))
            .take()
    } else {
        Query::select()
            .column("table_name")
            .from(("information_schema", "tables"))
            .and_where(Expr::col("table_schema").eq(Expr::cust("current_schema()")))
            .and_where(Expr::col("table_type").eq("BASE TABLE"))
            .and_where(Expr::col("table_name").ne(turn::LOCK_TABLE))
            .take()
    };
    connection.query_all(&list).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}
