//! The commands that migrate, for every program that has them: their arguments, their questions, their answers.

use std::fmt;
use std::io::IsTerminal;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Subcommand};
use database::{Address, ConnectError, Database, Options, Server};
use terminal::{CLOSE_INTERRUPTED, CommandLine, Exit, Failure, counted, interrupted, prompt};
use tokio_util::sync::CancellationToken;

use crate::{Command, Migrator, Report, droppable, run, status, total, unapplied};

/// For whoever calls `fresh` by `sea-orm-cli migrate fresh`, which has no `--yes`.
const YES: &str = "MIGRATION_YES";

/// Flags beside the database's URL.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// The schema to work in: only `public`, the default; SQLite ignores it
    #[arg(short = 's', long, global = true, env = "DATABASE_SCHEMA", value_name = "NAME")]
    database_schema: Option<String>,

    /// Let `fresh` drop all tables without being asked
    #[arg(short, long, global = true, env = YES, value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    yes: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Schema {
    /// Drop all tables from the database, then apply all migrations
    Fresh,
    /// Roll back all applied migrations, then apply all
    Refresh,
    /// Roll back all applied migrations
    Reset,
    /// Say of each migration whether it is applied
    Status,
    /// Apply pending migrations
    Up {
        /// So many of them
        #[arg(short, long, value_name = "N")]
        num: Option<u32>,
    },
    /// Roll back applied migrations
    Down {
        /// So many of them
        #[arg(short, long, value_name = "N", default_value_t = 1)]
        num: u32,
    },
}

/// What came of it. Its [`Display`](fmt::Display) is the answer for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What a command changed.
    Changed(Command, Report),
    /// Each migration, and whether it is applied.
    Status(Vec<(String, bool)>),
}

impl Schema {
    fn command(self) -> Option<Command> {
        Some(match self {
            Self::Fresh => Command::Fresh,
            Self::Refresh => Command::Refresh,
            Self::Reset => Command::Reset,
            Self::Up { num } => Command::Up(num),
            Self::Down { num } => Command::Down(Some(num)),
            Self::Status => return None,
        })
    }

    /// Does it, on the database at an address, until `interruption` is cancelled.
    ///
    /// # Errors
    ///
    /// A [`Failure`], with its exit code.
    pub async fn carry_out(
        self,
        address: &Address,
        flags: &Flags,
        interruption: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let command = self.command();
        let creates = matches!(command, Some(Command::Up(_) | Command::Fresh | Command::Refresh));
        let connecting = connect(address, flags, creates);
        let Some(database) = until(interruption, "nothing was changed", connecting).await? else {
            return Ok(match command {
                Some(command) => Outcome::Changed(command, Report::default()),
                None => Outcome::Status(unapplied()),
            });
        };
        let outcome = match command {
            Some(command) => change(&database, command, flags.yes, interruption).await,
            None => until(interruption, "nothing was changed", async { Ok(status(&database).await?) })
                .await
                .map(Outcome::Status),
        };
        if interruption.is_cancelled() {
            database.close_within(CLOSE_INTERRUPTED).await;
        } else {
            database.close().await;
        }
        outcome
    }
}

/// Waits for work, unless it is interrupted.
async fn until<T>(
    interruption: &CancellationToken,
    what_now: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = interruption.cancelled() => Err(interrupted(what_now)),
    }
}

async fn change(
    database: &Database,
    command: Command,
    yes: bool,
    interruption: &CancellationToken,
) -> Result<Outcome, Failure> {
    if command == Command::Fresh && !yes {
        until(interruption, "nothing was dropped", confirm(database)).await?;
    }
    let what_now = match database.server {
        Server::Cockroach => format!(
            "what was applied stays applied, see `{}`; run it again to go on",
            CommandLine::migrate("status")
        ),
        Server::Postgres | Server::Sqlite => "nothing was changed".to_owned(),
    };
    let changing = async { Ok(run::<Migrator>(database, command).await?) };
    until(interruption, &what_now, changing).await.map(|report| Outcome::Changed(command, report))
}

/// Asks whether all tables may be dropped: they may not all be the bank's.
async fn confirm(database: &Database) -> Result<(), Failure> {
    let tables = droppable(database).await?;
    if tables.is_empty() {
        return Ok(());
    }
    let (count, list) = (counted(tables.len() as u64, "table"), tables.join(", "));
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "`fresh` drops every table with all of its rows, here {count} ({list}): give --yes, or set {YES}=1, if that is meant"
        )));
    }
    prompt(&format!("`fresh` drops {count} with all of their rows: {list}.\nType yes to go on: "));
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    match answer.await {
        Ok(Ok(answer)) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "not_confirmed", "nothing was dropped: the answer was not yes")),
    }
}

/// Connects; `None` where there is no SQLite file, and none is to be created.
async fn connect(address: &Address, flags: &Flags, create: bool) -> Result<Option<Database>, Failure> {
    let database = match database::connect(address, &Options { create, ..Options::analysis() }).await {
        Err(ConnectError::MissingFile { .. }) => return Ok(None),
        connected => connected?,
    };
    match flags.database_schema.as_deref() {
        Some(schema) if schema != "public" && database.server != Server::Sqlite => {
            Err(Failure::usage(format!(
                "the schema \"{schema}\" cannot be used: only `public` can; for a bank of its own use a database of its own"
            )))
        }
        _ => Ok(Some(database)),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = match self {
            Self::Changed(command, report) => lines_of(*command, report),
            Self::Status(status) => {
                let line = |(name, applied): &(String, bool)| {
                    format!("{:<8} {name}", if *applied { "Applied" } else { "Pending" })
                };
                status.iter().map(line).collect()
            }
        };
        f.write_str(&lines.join("\n"))
    }
}

fn lines_of(command: Command, report: &Report) -> Vec<String> {
    let Report { rolled_back, applied, dropped } = report;
    if *report == Report::default() {
        return vec![match command {
            Command::Up(Some(0)) | Command::Down(Some(0)) => {
                "Nothing done: 0 migrations were asked for.".to_owned()
            }
            Command::Up(_) => format!("Nothing to apply: all {} migrations are in place.", total()),
            _ => "Nothing to roll back: no migration is applied.".to_owned(),
        }];
    }
    let lines = |what: &'static str, names: &[String]| {
        names.iter().map(|name| format!("{what} {name}")).collect::<Vec<_>>()
    };
    [lines("Dropped table", dropped), lines("Rolled back", rolled_back), lines("Applied", applied)].concat()
}
