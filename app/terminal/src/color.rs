//! `--color`: colours in help and logs.

use std::ffi::OsString;

use anstream::AutoStream;
use clap::{Args, ColorChoice, ValueEnum};

/// The flag `--color`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ColorFlag {
    /// Colours in help and logs
    ///
    /// `auto` obeys NO_COLOR and CLICOLOR_FORCE.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto,
        help_heading = "Output")]
    pub color: ColorChoice,
}

/// The value of `--color` before the arguments are parsed, for help.
pub(crate) fn asked_for(arguments: &[OsString]) -> ColorChoice {
    let words: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    let apart = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1].as_ref());
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
    let value = apart.chain(joined).next().unwrap_or("auto");
    ColorChoice::from_str(value, false).unwrap_or_default()
}

pub(crate) fn on_standard_error(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_found_before_the_arguments_are_parsed() {
        for (arguments, choice) in [
            (&["x"][..], ColorChoice::Auto),
            (&["x", "--color", "always", "--help"], ColorChoice::Always),
            (&["x", "seed", "--color=never"], ColorChoice::Never),
            (&["x", "--color", "pink"], ColorChoice::Auto),
            (&["x", "--color"], ColorChoice::Auto),
        ] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(asked_for(&arguments), choice, "{arguments:?}");
        }
    }
}
