//! How this process was called, and the command lines that go on from it, to be pasted into a shell.

use std::fmt;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use database::Address;

/// A program, as its user knows it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The package that it is in.
    pub package: &'static str,
    /// The subcommand that migrates; none in the program that does nothing else.
    pub migrate: Option<&'static str>,
}

struct Call {
    /// What runs the program.
    words: Vec<String>,
    migrate: Option<&'static str>,
    /// The flags of every command that were given to this one, each with its values.
    flags: Vec<Vec<String>>,
}

static CALL: OnceLock<Call> = OnceLock::new();

/// Where nothing is known: in a library.
static UNKNOWN: Call = Call { words: Vec::new(), migrate: Some("migrate"), flags: Vec::new() };

/// Notes how the process was called. The first time counts.
pub(crate) fn remember(program: Program, command: &Command, matches: &ArgMatches) {
    let given = |arg: &&Arg| {
        arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let flags = command.get_arguments().filter(given).map(|arg| flag(arg, matches)).collect();
    let _ = CALL.set(Call { words: words(program.package), migrate: program.migrate, flags });
}

/// A flag as it was given, but for a password.
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

/// What runs the program again: Cargo where it was run by it, else what was typed.
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

/// A command line of this program. Its [`Display`](fmt::Display) is quoted for a shell and has the flags of every command
/// that were given to this process, `--database-url` without its password among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// A command without flags of its own.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    /// A command of the migrator.
    #[must_use]
    pub fn migrate(command: &str) -> Self {
        Self(call().migrate.into_iter().chain([command]).map(str::to_owned).collect())
    }

    /// With an argument.
    #[must_use]
    pub fn argument(mut self, value: impl fmt::Display) -> Self {
        self.0.push(value.to_string());
        self
    }

    /// With a flag and its value.
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
        // A flag that the command has by itself is the one that counts.
        let flags = call.flags.iter().filter(|flag| !self.0.contains(&flag[0])).flatten();
        let words = program.into_iter().chain(words).chain(self.0.iter().chain(flags).map(String::as_str));
        let words: Vec<&str> = words.collect();
        // No argument of a process has the NUL that cannot be quoted.
        f.write_str(&shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" ")))
    }
}
