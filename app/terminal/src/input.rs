//! What the user gives: `.env` and arguments.

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use crate::Failure;

/// Reads `.env` from the working directory or one above it; what the environment has already wins.
///
/// # Errors
///
/// A file that is there and cannot be read. Its lines are not repeated, for one of them may hold a password.
pub fn load_env() -> Result<(), Failure> {
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => Err(Failure::usage(
            "the file .env cannot be read: each line must be NAME=value, with quotes around a value that has spaces or #",
        )),
        _ => Ok(()),
    }
}

/// Reads the arguments. `None` where they asked for help or the version, which is then printed.
///
/// # Errors
///
/// Wrong usage, in one line where clap takes several.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<C>, Failure> {
    let error = match C::try_parse_from(arguments) {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A reader that has gone away wants no help.
            let _ = error.print();
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                return Err(Failure::usage("no command was given: choose one of those above"));
            }
            Ok(None)
        }
        _ => Err(Failure::usage(one_line(&error.to_string()))),
    }
}

/// Clap's message without its heading, its usage and its hint at `--help`, which comes last here.
fn one_line(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let parts: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more information")
        })
        .collect();
    format!("{} (see --help)", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for (arguments, words) in [
            (&["x", "--count", "0"][..], "0 is not in 1.."),
            (&["x"], "--count <COUNT>"),
            (&["x", "--count", "1", "--cuont", "2"], "--cuont"),
        ] {
            let arguments = arguments.iter().map(OsString::from);
            let failure = parse::<Cli>(arguments).expect_err("wrong usage");
            assert!(failure.line.contains(words), "{}", failure.line);
            assert!(!failure.line.contains('\n') && !failure.line.contains("Usage:"), "{}", failure.line);
        }
    }
}
