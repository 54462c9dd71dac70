//! The command line: the only place that prints.
//!
//! Answers go to standard output, everything else to standard error. A command is a module with its
//! arguments and a function that returns an `Answer`.

mod accounts;
mod answer;
mod audit;
mod completions;
mod context;
mod demo;
mod doctor;
mod examples;
mod export;
mod failure;
mod file;
mod global;
mod history;
mod import;
mod init;
mod load;
mod man;
mod migrate;
mod output;
mod pay;
mod points;
mod progress;
mod retries;
mod seed;
mod source;
mod transfer;
mod values;
mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use terminal::{Failure, Logging, Program, load_env, parse, start_logging};

use answer::{Answer, Format};
use context::Context;
use global::Global;

/// A bank of accounts on CockroachDB, PostgreSQL or an embedded SQLite file.
#[derive(Debug, Parser)]
#[command(name = "seabank", version = terminal::VERSION, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 the audit found the bank broken · \
    4 the outcome is unknown · 5 no database, or its schema is not migrated · 130 interrupted · 143 ended by SIGTERM · \
    141 the reader of the output went away before the work was done";

const PROGRAM: Program = Program { package: "app", migrate: Some("migrate") };

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the database and its user, as an administrator
    #[command(after_help = examples::INIT)]
    Init(init::Args),
    /// Check whether a database is ready for the bank, and say what to do
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::Args),
    /// Run the tutorial: migrate, read, seed 100 accounts, transfer once, audit
    #[command(after_help = examples::DEMO)]
    Demo,
    /// Add random accounts, in chunks that are each applied once
    #[command(after_help = examples::SEED)]
    Seed(seed::Args),
    /// Add points in bulk: the tutorial's second program
    #[command(after_help = examples::POINTS)]
    Points(points::Args),
    /// Move money, by default half of a random account's balance
    #[command(after_help = examples::TRANSFER)]
    Transfer(transfer::Args),
    /// Add the accounts or transfers of a CSV file
    #[command(after_help = examples::IMPORT)]
    Import(import::Args),
    /// Apply the transfers of a CSV file, each once, many in one transaction
    #[command(after_help = examples::PAY)]
    Pay(pay::Args),
    /// Write accounts or transfers as CSV that `import` reads
    #[command(after_help = examples::EXPORT)]
    Export(export::Args),
    /// Load the bank with transfers, measure them, and audit it meanwhile
    #[command(after_help = examples::WORKLOAD)]
    Workload(workload::Args),
    /// List accounts
    #[command(after_help = examples::ACCOUNTS)]
    Accounts(accounts::Args),
    /// Show an account and its latest transfers
    #[command(after_help = examples::HISTORY)]
    History(history::Args),
    /// Verify every balance in one snapshot
    #[command(after_help = examples::AUDIT)]
    Audit(audit::Args),
    /// Apply, roll back or list migrations, as the program `migration` does
    #[command(after_help = examples::MIGRATE)]
    Migrate(migrate::Args),
    /// Write the man pages
    #[command(after_help = examples::MAN)]
    Man(man::Args),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(completions::Args),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Doctor(_) => "doctor",
            Self::Demo => "demo",
            Self::Seed(_) => "seed",
            Self::Points(_) => "points",
            Self::Transfer(_) => "transfer",
            Self::Import(_) => "import",
            Self::Pay(_) => "pay",
            Self::Export(_) => "export",
            Self::Workload(_) => "workload",
            Self::Accounts(_) => "accounts",
            Self::History(_) => "history",
            Self::Audit(_) => "audit",
            Self::Migrate(_) => "migrate",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// Runs the program on the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let format = Format::asked_for(&arguments);
    // The environment can set flags. Help and the version do not need it.
    let environment = load_env();
    let answer = match parse::<Cli>(PROGRAM, arguments) {
        Ok(Some(cli)) => {
            start_logging(Logging {
                default: "error,sqlx=off",
                echo: cli.global.echo,
                color: cli.global.color.color,
            });
            run(cli, environment)
        }
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => Err(failure),
    };
    answer.unwrap_or_else(Answer::failed).print(format).into()
}

fn run(cli: Cli, environment: Result<(), Failure>) -> Result<Answer, Failure> {
    match &cli.command {
        Command::Completions(args) => return Ok(completions::run::<Cli>(args)),
        Command::Man(args) => return man::run::<Cli>(args),
        _ => {}
    }
    environment?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(terminal::Exit::Failed, "runtime", error.to_string()))?;
    let answer = runtime.block_on(async {
        let context = Context::start(cli.global, cli.command.name())?;
        let working = Box::pin(work(&context, cli.command));
        let answer = tokio::select! {
            answer = working => answer,
            failure = context.cut_off() => Err(failure),
        };
        context.close().await;
        answer
    });
    // The background tasks of a cancelled command may wait for a dead server.
    runtime.shutdown_background();
    answer
}

async fn work(context: &Context, command: Command) -> Result<Answer, Failure> {
    match command {
        Command::Init(args) => init::run(context, &args).await,
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Demo => demo::run(context).await,
        Command::Seed(args) => seed::run(context, &args).await,
        Command::Points(args) => points::run(context, &args).await,
        Command::Import(args) => import::run(context, &args).await,
        Command::Pay(args) => pay::run(context, &args).await,
        Command::Export(args) => export::run(context, &args).await,
        Command::Transfer(args) => transfer::run(context, &args).await,
        Command::Workload(args) => workload::run(context, &args).await,
        Command::Accounts(args) => accounts::run(context, &args).await,
        Command::History(args) => history::run(context, &args).await,
        Command::Audit(args) => audit::run(context, &args).await,
        Command::Migrate(args) => migrate::run(context, &args).await,
        Command::Completions(_) | Command::Man(_) => unreachable!("answered without a database"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        for command in super::Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter_map(|line| line.strip_prefix("  "));
            let mut count = 0;
            for example in examples {
                let words = shlex::split(example).expect("an example can be split into words");
                let start = words.iter().position(|word| word == "seabank").expect("it calls seabank");
                let end = words.iter().skip(start).position(|word| word == "|" || word == ">");
                let words = &words[start..end.map_or(words.len(), |end| start + end)];
                super::Cli::command().try_get_matches_from(words).expect(example);
                assert_eq!(words.get(1).map(String::as_str), Some(command.get_name()), "{example}");
                count += 1;
            }
            assert!(count > 0, "{} has no example", command.get_name());
        }
    }

    #[test]
    fn shared_flags_stand_under_headings_after_a_commands_own() {
        let mut command = super::Cli::command();
        command.build();
        for command in command.get_subcommands_mut().filter(|it| it.get_name() != "help") {
            let help = command.render_long_help().to_string();
            let places = ["Options:", "Connection:", "Retries:", "Output:"].map(|heading| {
                help.find(heading).unwrap_or_else(|| panic!("{heading} is missing in {}", command.get_name()))
            });
            assert!(places.is_sorted(), "{}: {places:?}", command.get_name());
        }
    }
}
