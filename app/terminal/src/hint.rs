//! Hints for arguments that clap refuses: `1k` is 1000, a stray value needs its flag.

use std::ffi::OsString;

use clap::builder::Str;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

pub(crate) fn hint(error: &Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        // `5m` is a time, and five million elsewhere.
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
            if !given(ContextKind::InvalidArg).is_some_and(|flag| flag.contains("<TIME>")) =>
        {
            digits(given(ContextKind::InvalidValue)?).map(|digits| format!("write {digits}"))
        }
        ErrorKind::UnknownArgument => {
            let stray = given(ContextKind::InvalidArg).filter(|stray| !stray.starts_with('-'))?;
            let flag = flag_for(stray, subcommand(command, arguments))?;
            Some(format!("a value needs the name of its flag, as in {flag} {stray}"))
        }
        _ => None,
    }
}

/// The digits of a number such as `1_000`, `1,000`, `1 000`, `1k` or `2M`.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let (number, zeros) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], "000"),
        (at, 'm' | 'M') => (&text[..at], "000000"),
        (at, 'g' | 'G' | 'b' | 'B') => (&text[..at], "000000000"),
        _ => (text, ""),
    };
    let digits: String = number.chars().filter(|c| !"_,' ".contains(*c)).collect();
    let sign = if digits.starts_with('-') { 1 } else { 0 };
    let is_number = digits.len() > sign && digits[sign..].bytes().all(|byte| byte.is_ascii_digit());
    let meant = digits + zeros;
    (is_number && meant != text).then_some(meant)
}

fn subcommand<'a>(command: &'a Command, arguments: &[OsString]) -> &'a Command {
    arguments.iter().skip(1).fold(command, |command, argument| {
        argument.to_str().and_then(|name| command.find_subcommand(name)).unwrap_or(command)
    })
}

/// The flag that takes such a value. None where the command takes the same without a flag: then
/// this one is too many.
fn flag_for(value: &str, command: &Command) -> Option<String> {
    let kinds: &[&str] = if value.contains("://") {
        &["URL"]
    } else if digits(value).is_some() || value.parse::<i64>().is_ok() {
        &["N", "ID", "UNITS"]
    } else if value.starts_with(|c: char| c.is_ascii_digit()) {
        &["TIME", "ID"]
    } else {
        &["FILE", "FILE.html", "NAME"]
    };
    let takes = |arg: &&Arg| {
        arg.get_action().takes_values() && value_names(arg).iter().any(|name| kinds.contains(&name.as_str()))
    };
    // Of the shared flags, only a URL's is what was probably meant.
    let meant = |arg: &&Arg| !arg.is_positional() && (!arg.is_global_set() || kinds == ["URL"]);
    let flag = command.get_arguments().filter(meant).find(takes)?;
    let too_many = command.get_positionals().any(|arg| value_names(arg) == value_names(flag));
    flag.get_long().filter(|_| !too_many).map(|name| format!("--{name}"))
}

fn value_names(arg: &Arg) -> &[Str] {
    arg.get_value_names().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_in_digits() {
        for (text, meant) in [
            ("1_000", Some("1000")),
            ("1k", Some("1000")),
            ("2M", Some("2000000")),
            ("10,000", Some("10000")),
            ("1'000", Some("1000")),
            ("-1 000", Some("-1000")),
            ("1000", None),
            ("1.5", None),
            ("many", None),
            ("k", None),
            ("", None),
        ] {
            assert_eq!(digits(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn a_stray_value_is_told_its_flag() {
        let value = |flag: &'static str, name: &'static str| Arg::new(flag).long(flag).value_name(name);
        let file = Arg::new("file").value_name("FILE");
        let mut command = Command::new("seabank")
            .arg(value("database-url", "URL").global(true))
            .subcommand(Command::new("pay").arg(file).arg(value("rejects", "FILE")))
            .subcommand(Command::new("history").arg(Arg::new("id").value_name("ID")).arg(value("limit", "N")))
            .subcommand(Command::new("export").arg(value("output", "FILE")).arg(value("min-id", "ID")))
            .subcommand(Command::new("import").arg(value("server-side", "URL")).arg(value("within", "TIME")));
        command.build();
        for (line, flag) in [
            ("seabank export out.csv", Some("--output out.csv")),
            ("seabank export 1000", Some("--min-id 1000")),
            ("seabank export sqlite://bank.db", Some("--database-url sqlite://bank.db")),
            ("seabank import http://host/a.csv", Some("--server-side http://host/a.csv")),
            ("seabank import 5s", Some("--within 5s")),
            ("seabank history 5 10", Some("--limit 10")),
            // `pay` takes one file, without a flag.
            ("seabank pay a.csv b.csv", None),
            ("seabank import a.csv", None),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = command.try_get_matches_from_mut(&arguments).expect_err(line);
            let told = hint(&error, &command, &arguments);
            let expected = flag.map(|flag| format!("a value needs the name of its flag, as in {flag}"));
            assert_eq!(told, expected, "{line}");
        }
    }
}
