//! Parsing the arguments.

use std::ffi::OsString;
use std::io;

use clap::error::ErrorKind;
use clap::{Command, Parser};

use crate::call::{self, Program};
use crate::color;
use crate::hint::hint;
use crate::print::lost;
use crate::{Exit, Failure};

/// Parses the arguments. Prints help or the version and returns `None` if they ask for it.
///
/// # Errors
///
/// Wrong usage, in one line; help that cannot be written.
pub fn parse<C: Parser>(
    program: Program,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<C>, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = C::command().color(color::asked_for(&arguments));
    let parsed = command.try_get_matches_from_mut(&arguments).and_then(|matches| {
        call::remember(program, &command, &matches);
        C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    });
    match parsed {
        Ok(cli) => Ok(Some(cli)),
        Err(error) => refused(&error, &command, &arguments).map(|()| None),
    }
}

fn refused(error: &clap::Error, command: &Command, arguments: &[OsString]) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            written(error.print())?;
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                return Err(Failure::usage("no command was given: choose one of those above"));
            }
            Ok(())
        }
        _ => Err(Failure::usage(one_line(&error.to_string(), hint(error, command, arguments)))),
    }
}

fn written(printed: io::Result<()>) -> Result<(), Failure> {
    let Err(error) = printed else { return Ok(()) };
    let failure = lost(&error, "the help");
    if failure.exit == Exit::ReaderGone { Ok(()) } else { Err(failure) }
}

/// Clap's message in one line, without heading and usage. Our hint replaces clap's.
fn one_line(message: &str, hint: Option<String>) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let parts: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| {
            let left_out = ["Usage:", "For more information"].iter().any(|words| line.starts_with(words));
            !line.is_empty() && !left_out && (hint.is_none() || !line.starts_with("tip:"))
        })
        .collect();
    let hint = hint.map(|hint| format!(": {hint}")).unwrap_or_default();
    format!("{}{hint} (see --help)", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for (arguments, words) in [
            (&["x", "--count", "0"][..], "0 is not in 1.."),
            (&["x"], "--count <N>"),
            (&["x", "--count", "1", "--cuont", "2"], "--cuont"),
            (&["x", "--count", "1_000"], "write 1000"),
            (&["x", "100"], "as in --count 100"),
        ] {
            let program = Program { package: "x", migrate: None };
            let failure =
                parse::<Cli>(program, arguments.iter().map(OsString::from)).expect_err("wrong usage");
            assert!(failure.line.contains(words), "{}", failure.line);
            assert!(!failure.line.contains('\n') && !failure.line.contains("Usage:"), "{}", failure.line);
        }
    }
}
