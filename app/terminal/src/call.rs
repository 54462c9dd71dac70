//! The command line of this process, and others derived from it, quoted for a shell.

use std::fmt;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use database::Address;

/// A program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its package.
    pub package: &'static str,
    /// Its subcommand that migrates; none in `migration`.
    pub migrate: Option<&'static str>,
}

struct Call {
    /// The program.
    words: Vec<String>,
    migrate: Option<&'static str>,
    /// The given global flags, each with its values.
    flags: Vec<Vec<String>>,
}

static CALL: OnceLock<Call> = OnceLock::new();

/// In a library.
static UNKNOWN: Call = Call { words: Vec::new(), migrate: Some("migrate"), flags: Vec::new() };

/// Only the first call counts.
pub(crate) fn remember(program: Program, command: &Command, matches: &ArgMatches) {
    let given = |arg: &&Arg| {
        arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let flags = command.get_arguments().filter(given).map(|arg| flag(arg, matches)).collect();
    let _ = CALL.set(Call { words: words(program.package), migrate: program.migrate, flags });
}

/// Without a password.
fn flag(arg: &Arg, matches: &ArgMatches) -> Vec<String> {
    let name = std::iter::once(format!("--{}", arg.get_long().unwrap_or_default()));
    let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let values = values.filter(|_| arg.get_action().takes_values()).map(|value| {
        let value = value.to_string_lossy().into_owned();
        if !arg.is_hide_env_values_set() {
            return value;
        }
        Address::parse(&value).map_or_else(|_| "***".to_owned(), |address| address.to_string())
    });
    name.chain(values).collect()
}

/// The words that run the program again: `cargo run`, or its path.
fn words(package: &str) -> Vec<String> {
    if std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == package) {
        let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        return ["cargo", "run"]
            .iter()
            .chain(release)
            .chain(&["-p", package, "--"])
            .map(|it| (*it).to_owned())
            .collect();
    }
    std::env::args_os().take(1).map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A command line of this program. [`Display`](fmt::Display) quotes it for a shell and adds the
/// given global flags, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// A command without flags.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    /// A command of the migrator.
    #[must_use]
    pub fn migrate(command: &str) -> Self {
        Self(call().migrate.into_iter().chain([command]).map(str::to_owned).collect())
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, value: impl fmt::Display) -> Self {
        self.0.push(value.to_string());
        self
    }

    /// Adds a flag and its value.
    #[must_use]
    pub fn flag(self, name: &str, value: impl fmt::Display) -> Self {
        self.argument(name).argument(value)
    }
}

fn call() -> &'static Call {
    CALL.get().unwrap_or(&UNKNOWN)
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = call();
        let program = call.words.is_empty().then_some("seabank");
        let words = call.words.iter().map(String::as_str);
        // The command's own flag wins.
        let flags = call.flags.iter().filter(|flag| !self.0.contains(&flag[0])).flatten();
        let words = program.into_iter().chain(words).chain(self.0.iter().chain(flags).map(String::as_str));
        let words: Vec<&str> = words.collect();
        // Only NUL cannot be quoted, and no argument contains it.
        f.write_str(&shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" ")))
    }
}
