//! A migration command, and one attempt at it with the lock held.

use std::collections::BTreeSet;

use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{IntoSchemaManagerConnection, MigratorTrait};

use crate::{state, tables};

/// A change of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Apply pending migrations, at most this many.
    Up(Option<u32>),
    /// Roll back the newest applied migrations, at most this many.
    Down(Option<u32>),
    /// Drop all tables, then apply all migrations.
    Fresh,
    /// Roll back all applied migrations, then apply all.
    Refresh,
    /// Roll back all applied migrations, and drop the migration table.
    Reset,
}

impl Command {
    /// The migrations to apply or roll back.
    pub(crate) fn selected(self, status: Vec<(String, bool)>) -> Vec<String> {
        let with = |wanted: bool| status.iter().filter(move |(_, applied)| *applied == wanted);
        let at_most = |num: Option<u32>| num.map_or(usize::MAX, |num| num as usize);
        let selected: Vec<&(String, bool)> = match self {
            Self::Up(num) => with(false).take(at_most(num)).collect(),
            Self::Down(num) => with(true).rev().take(at_most(num)).collect(),
            Self::Fresh | Self::Refresh => status.iter().collect(),
            Self::Reset => with(true).collect(),
        };
        selected.into_iter().map(|(name, _)| name.clone()).collect()
    }
}

/// What a command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The migrations rolled back, newest first.
    pub rolled_back: Vec<String>,
    /// The migrations applied, oldest first.
    pub applied: Vec<String>,
    /// The tables that [`Command::Fresh`] dropped.
    pub dropped: Vec<String>,
}

/// A command and its progress: on CockroachDB a failed attempt's statements stay committed.
pub(crate) struct Task {
    pub(crate) command: Command,
    /// The migrations recorded when the first attempt began.
    before: Option<BTreeSet<String>>,
    dropped: Vec<String>,
}

impl Task {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, before: None, dropped: Vec::new() }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.before.is_some()
    }

    /// One attempt, with the lock held.
    pub(crate) async fn attempt<'c, M, C>(&mut self, connection: &'c C) -> Result<Report, DbErr>
    where
        M: MigratorTrait,
        C: ConnectionTrait,
        &'c C: IntoSchemaManagerConnection<'c>,
    {
        M::install(connection).await?;
        let now = state::names(connection).await?;
        let before = self.before.get_or_insert_with(|| now.clone()).clone();
        // `down -n 2` rolls back two migrations, however many attempts it takes.
        let steps = |num: Option<u32>, done: usize| {
            num.map(|num| num.saturating_sub(u32::try_from(done).unwrap_or(u32::MAX)))
        };
        match self.command {
            Command::Up(num) => M::up(connection, steps(num, now.difference(&before).count())).await?,
            Command::Down(num) => M::down(connection, steps(num, before.difference(&now).count())).await?,
            Command::Fresh => {
                tables::drop(connection, &mut self.dropped).await?;
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
}
