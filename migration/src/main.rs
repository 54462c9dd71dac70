//! The program `migration`, which `sea-orm-cli migrate` calls too.
//!
//! Answers go to standard output, an error as one line to standard error. Exit codes: 0 done, 2
//! wrong usage, 5 no server, database or rights, 130 interrupted, 143 ended by SIGTERM, 1 other.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use database::{Address, EMBEDDED_URL};
use migration::cli::{Flags, Schema};
use terminal::{
    ColorFlag, Exit, Failure, Logging, Program, interruption, load_env, parse, print, say, start_logging,
};

const EXAMPLES: &str = "Examples:
  migration up
  migration status
  migration down --num 1
  migration up --database-url 'cockroachdb://root@localhost:26257/bank?sslmode=disable'";

/// Apply and roll back the schema of the bank
#[derive(Parser)]
#[command(name = "migration", version = terminal::VERSION, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    flags: Flags,

    /// Where the database is; a file `.env` is read too [default: sqlite://bank.db?mode=rwc]
    #[arg(
        short = 'u',
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Connection"
    )]
    database_url: Option<String>,

    /// Show debug messages (RUST_LOG chooses them more finely)
    #[arg(short, long, global = true, help_heading = "Output")]
    verbose: bool,

    #[command(flatten)]
    color: ColorFlag,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Schema(Schema),
    /// Create a folder of migrations
    Init,
    /// Add an empty migration to this crate
    Generate {
        /// Its name
        migration_name: String,

        /// Date it in UTC, which is the default
        #[arg(long, conflicts_with = "local_time")]
        universal_time: bool,

        /// Date it in local time
        #[arg(long)]
        local_time: bool,
    },
}

const PROGRAM: Program = Program { package: "migration", migrate: None };

fn main() -> ExitCode {
    // The environment can set flags. Help and the version do not need it.
    let environment = load_env();
    let done = parse::<Cli>(PROGRAM, std::env::args_os()).and_then(|cli| {
        let Some(cli) = cli else { return Ok(()) };
        environment?;
        migrate(cli)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit.into()
        }
    }
}

fn migrate(cli: Cli) -> Result<(), Failure> {
    // The driver logs slow statements and notices.
    let default = if cli.verbose { "debug" } else { "warn,sqlx=off" };
    start_logging(Logging { default, echo: false, color: cli.color.color });

    let schema = match cli.command {
        None => Schema::Up { num: None },
        Some(Command::Schema(schema)) => schema,
        Some(Command::Init) => return init(),
        Some(Command::Generate { migration_name, local_time, .. }) => {
            return written(move || {
                sea_orm_cli::run_migrate_generate(&directory(), &migration_name, !local_time)
                    .map_err(|error| error.to_string())
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| other(error.to_string()))?;
    let outcome = runtime.block_on(async {
        let interruption = interruption(|| {})?;
        let address = Address::parse(cli.database_url.as_deref().unwrap_or(EMBEDDED_URL))?;
        for note in address.notes() {
            say(note);
        }
        let address = address.with_application_name("seabank migrate");
        schema.carry_out(&address, &cli.flags, &interruption).await
    });
    // A pending answer may never come.
    runtime.shutdown_background();
    match print(&outcome?.to_string()) {
        Err(unwritten) if unwritten.exit != Exit::ReaderGone => Err(unwritten),
        _ => Ok(()),
    }
}

/// Writes sea-orm-cli's template, but not over the schema.
fn init() -> Result<(), Failure> {
    let directory = directory();
    if Path::new(&directory).join("src/lib.rs").exists() {
        return Err(Failure::usage(format!(
            "{directory} holds migrations already: `generate NAME` adds one, `init` is for an empty folder"
        )));
    }
    written(move || sea_orm_cli::run_migrate_init(&directory).map_err(|error| error.to_string()))
}

/// sea-orm-cli prints, and panics on errors.
fn written(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), Failure> {
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::thread::spawn(work).join();
    let _ = std::panic::take_hook();
    let reason = |panic: Box<dyn std::any::Any + Send>| {
        panic.downcast::<String>().map_or_else(|_| "it ended in the middle".to_owned(), |reason| *reason)
    };
    ended.unwrap_or_else(|panic| Err(reason(panic))).map_err(other)
}

/// This crate under `cargo run`, else the working directory.
fn directory() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned())
}

fn other(reason: String) -> Failure {
    Failure::new(Exit::Failed, "failed", reason)
}

#[test]
fn the_arguments_are_well_formed() {
    <Cli as clap::CommandFactory>::command().debug_assert();
}
