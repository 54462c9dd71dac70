//! `cargo run -p migration -- up|down|status|fresh|refresh|reset`, and what `sea-orm-cli migrate` calls.
//!
//! Answers go to standard output; an error is one line on standard error. Exit codes: 0 done, 2 wrong usage, 5 no
//! server, no database or no rights, 130 interrupted, 1 anything else. The work is the library's.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place of this crate that prints")]

use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser};
use database::{Address, ConnectError, Database, EMBEDDED_URL, Options, Server};
use migration::{Command, Migrator, Report};
use sea_orm_cli::MigrateSubcommands;
use terminal::{
    CancellationToken, Exit, Failure, Logging, interrupted, interruption, load_env, parse, start_logging,
};

/// Applies and rolls back the schema of the bank.
#[derive(Parser)]
#[command(name = "migration", version)]
struct Cli {
    /// Show debug messages (RUST_LOG chooses them more finely)
    #[arg(short, long, global = true)]
    verbose: bool,

    /// The schema to work in: only `public`, the default; SQLite ignores it
    #[arg(short = 's', long, global = true, env = "DATABASE_SCHEMA")]
    database_schema: Option<String>,

    /// Where the database is; a file `.env` is read too [default: sqlite://bank.db?mode=rwc]
    #[arg(short = 'u', long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Let `fresh` drop all tables without being asked
    #[arg(short, long, global = true, env = YES, value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    yes: bool,

    #[command(subcommand)]
    command: Option<MigrateSubcommands>,
}

/// For whoever calls this by `sea-orm-cli migrate fresh`, which has no `--yes`.
const YES: &str = "MIGRATION_YES";

fn main() -> ExitCode {
    let failure = match load_env().and_then(|()| parse::<Cli>(std::env::args_os())) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(cli)) => match migrate(&cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    eprintln!("error: {}", failure.line);
    failure.exit.into()
}

fn migrate(cli: &Cli) -> Result<(), Failure> {
    // The driver's own lines, of slow statements and notices, are for whoever asks for them.
    let default = if cli.verbose { "debug" } else { "warn,sqlx=off" };
    start_logging(Logging { default, echo: false });

    let command = match &cli.command {
        None => Command::Up(None),
        Some(MigrateSubcommands::Up { num }) => Command::Up(*num),
        Some(MigrateSubcommands::Down { num }) => Command::Down(Some(*num)),
        Some(MigrateSubcommands::Fresh) => Command::Fresh,
        Some(MigrateSubcommands::Refresh) => Command::Refresh,
        Some(MigrateSubcommands::Reset) => Command::Reset,
        Some(MigrateSubcommands::Status) => return block_on(status(cli)),
        Some(MigrateSubcommands::Init) => return init(),
        Some(MigrateSubcommands::Generate { migration_name, local_time, .. }) => {
            return sea_orm_cli::run_migrate_generate(&directory(), migration_name, !local_time)
                .map_err(other);
        }
    };
    block_on(change(cli, command))
}

async fn change(cli: &Cli, command: Command) -> Result<(), Failure> {
    let creates = matches!(command, Command::Up(_) | Command::Fresh | Command::Refresh);
    let stop = Stop::listen()?;
    let Some(database) = stop.or(NOTHING, connect(cli, creates)).await? else {
        tell(command, &Report::default());
        return Ok(());
    };
    let changed = confirm_and_change(cli, &database, command, &stop).await;
    stop.close(&database).await;
    tell(command, &changed?);
    Ok(())
}

async fn confirm_and_change(
    cli: &Cli,
    database: &Database,
    command: Command,
    stop: &Stop,
) -> Result<Report, Failure> {
    if command == Command::Fresh && !cli.yes {
        stop.or(NOTHING, confirm(database)).await?;
    }
    let what_now = match database.server {
        Server::Cockroach => "what was applied stays applied, see `migration status`; run it again to go on",
        Server::Postgres | Server::Sqlite => NOTHING,
    };
    stop.or(what_now, async { Ok(migration::run::<Migrator>(database, command).await?) }).await
}

const NOTHING: &str = "nothing was changed";

/// How long a server is waited for when a session is closed after an interruption.
const CLOSE_INTERRUPTED: Duration = Duration::from_millis(100);

/// An interruption, from the first moment on.
struct Stop(CancellationToken);

impl Stop {
    fn listen() -> Result<Self, Failure> {
        interruption(|| {}).map(Self)
    }

    /// Waits for work, or for the interruption, which means `what_now`.
    async fn or<T>(
        &self,
        what_now: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.0.cancelled() => Err(interrupted(what_now)),
        }
    }

    async fn close(&self, database: &Database) {
        if self.0.is_cancelled() {
            database.close_within(CLOSE_INTERRUPTED).await;
        } else {
            database.close().await;
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| other(error.into()))?;
    let ended = runtime.block_on(work);
    // Nobody waits for a look-up of a name, nor for an answer that is still to be typed.
    runtime.shutdown_background();
    ended
}

/// Asks whether all tables may be dropped: they may not all be the bank's.
async fn confirm(database: &Database) -> Result<(), Failure> {
    let tables = migration::droppable(database).await?;
    let (count, list) = (tables.len(), tables.join(", "));
    if count == 0 {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "`fresh` drops every table with all of its rows, here {count} ({list}): give --yes, or set {YES}=1, if that is meant"
        )));
    }
    eprint!("`fresh` drops {count} tables with all of their rows: {list}.\nType yes to go on: ");
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    if matches!(read.await, Ok(Ok(answer)) if answer.trim().eq_ignore_ascii_case("yes")) {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "not_confirmed", "nothing was dropped: the answer was not yes"))
}

/// Connects; `None` where there is no SQLite file, and none is to be created.
async fn connect(cli: &Cli, create: bool) -> Result<Option<Database>, Failure> {
    let address = Address::parse(cli.database_url.as_deref().unwrap_or(EMBEDDED_URL))?;
    for note in address.notes() {
        eprintln!("{note}");
    }
    let address = address.with_application_name("seabank migrate");
    let database = match database::connect(&address, &Options { create, ..Options::analysis() }).await {
        Err(ConnectError::MissingFile { .. }) => return Ok(None),
        connected => connected?,
    };
    match cli.database_schema.as_deref() {
        Some(schema) if schema != "public" && database.server != Server::Sqlite => {
            Err(Failure::usage(format!(
                "the schema \"{schema}\" cannot be used: only `public` can; for a bank of its own use a database of its own"
            )))
        }
        _ => Ok(Some(database)),
    }
}

async fn status(cli: &Cli) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let statuses = match stop.or(NOTHING, connect(cli, false)).await? {
        Some(database) => {
            let statuses = stop.or(NOTHING, async { Ok(migration::status(&database).await?) }).await;
            stop.close(&database).await;
            statuses?
        }
        None => migration::unapplied(),
    };
    for (name, applied) in statuses {
        println!("{:<8} {name}", if applied { "Applied" } else { "Pending" });
    }
    Ok(())
}

fn tell(command: Command, report: &Report) {
    for table in &report.dropped {
        println!("Dropped table {table}");
    }
    for name in &report.rolled_back {
        println!("Rolled back {name}");
    }
    for name in &report.applied {
        println!("Applied {name}");
    }
    if *report == Report::default() {
        match command {
            Command::Up(Some(0)) | Command::Down(Some(0)) => {
                println!("Nothing done: 0 migrations were asked for.")
            }
            Command::Up(_) => {
                println!("Nothing to apply: all {} migrations are in place.", migration::total())
            }
            _ => println!("Nothing to roll back: no migration is applied."),
        }
    }
}

/// The stock template, where there is nothing yet: it would replace the schema.
fn init() -> Result<(), Failure> {
    let directory = directory();
    if Path::new(&directory).join("src/lib.rs").exists() {
        return Err(Failure::usage(format!(
            "{directory} holds migrations already: `generate NAME` adds one, `init` is for an empty folder"
        )));
    }
    sea_orm_cli::run_migrate_init(&directory).map_err(other)
}

/// Where `cargo run` says this crate is, and otherwise the working directory.
fn directory() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned())
}

fn other(error: Box<dyn Error>) -> Failure {
    Failure::new(Exit::Failed, "failed", error.to_string())
}

#[test]
fn the_arguments_are_well_formed() {
    <Cli as clap::CommandFactory>::command().debug_assert();
}
