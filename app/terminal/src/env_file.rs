//! The file `.env`.

use std::path::{Path, PathBuf};

use crate::Failure;

/// Loads `.env` from the working directory or its nearest ancestor. Variables already set win.
///
/// # Errors
///
/// An unreadable file, by its name and line. The line is not repeated: it may hold a password.
pub fn load_env() -> Result<(), Failure> {
    let Some(path) = find() else { return Ok(()) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::usage(format!("{} cannot be read: {error}: fix it, or move it away", path.display()))
    })?;
    load(&path, text.trim_start_matches('\u{feff}'))
}

fn find() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    folder.ancestors().map(|folder| folder.join(".env")).find(|path| path.is_file())
}

/// Sets one variable at a time, so that an error has a line.
fn load(path: &Path, text: &str) -> Result<(), Failure> {
    let lines: Vec<&str> = text.lines().collect();
    let mut first = 0;
    while first < lines.len() {
        let wrong = |what: &str| Failure::usage(format!("{}, line {}: {what}", path.display(), first + 1));
        // A quoted value may span lines.
        let end = (first + 1..=lines.len()).find(|end| is_whole(&lines[first..*end].join("\n")));
        let end = end.ok_or_else(|| {
            wrong("it must be NAME=value, with single quotes around a value that has spaces, quotes, # or $")
        })?;
        let entry = lines[first..end].join("\n");
        if has_lost_variable(&entry) {
            return Err(wrong(
                "a $ outside single quotes begins a variable, and there is none of that name: put the value in single quotes",
            ));
        }
        dotenvy::from_read(entry.as_bytes()).map_err(|_| wrong("it cannot be set: fix it"))?;
        first = end;
    }
    Ok(())
}

fn is_whole(entry: &str) -> bool {
    dotenvy::from_read_iter(entry.as_bytes()).all(|variable| variable.is_ok())
}

/// Whether dotenvy would drop a `$`: one that is not escaped, not in single quotes, and not
/// `${NAME}` of a set variable. A bare `$NAME` counts as part of a password.
fn has_lost_variable(entry: &str) -> bool {
    let value = match entry.split_once('=') {
        Some((name, value)) if !name.trim_start().starts_with('#') => value,
        _ => return false,
    };
    let (mut single, mut double, mut escaped, mut before) = (false, false, false, ' ');
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\'' if !double => single = !single,
            _ if single => {}
            '\\' => escaped = true,
            '"' => double = !double,
            '#' if !double && before.is_whitespace() => return false,
            '$' if !is_there(&value[at + 1..]) => return true,
            _ => {}
        }
        before = c;
    }
    false
}

fn is_there(rest: &str) -> bool {
    let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    name.is_some_and(|(name, _)| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_cannot_be_set_is_named_and_not_repeated() {
        for (text, line) in [
            ("nonsense s3cret\n", 1),
            ("\n# a comment with a $\nTERMINAL_A=1\nTERMINAL_B=s3 cret\n", 4),
            ("TERMINAL_A='one\ntwo'\nTERMINAL_B=pa$s3cret\n", 3),
            ("TERMINAL_B=\"pa$s3cret\"\n", 1),
            ("TERMINAL_B=${TERMINAL_NOBODY}s3cret # x\n", 1),
            ("TERMINAL_A=1 # costs $5\n\nTERMINAL_B=$s3cret", 3),
            ("TERMINAL_A='s3cret\n\n", 1),
            ("TERMINAL_A=\\s3cret\n", 1),
        ] {
            let failure = load(Path::new("/home/.env"), text).expect_err(text);
            assert!(
                failure.line.starts_with(&format!("/home/.env, line {line}: ")),
                "{text}: {}",
                failure.line
            );
            assert!(!failure.line.contains("cret"), "{}", failure.line);
        }
    }

    #[test]
    fn what_is_quoted_is_set_as_it_is() {
        let text = "# $\n\nTERMINAL_SINGLE='pa$s\" #\\x'\r\nTERMINAL_DOUBLE=\"pa\\$s\"\nexport TERMINAL_BARE=pa\\$s#x # $\n\
                    TERMINAL_LONG='a\n$b'\nTERMINAL_USES=${TERMINAL_BARE}!\n";
        load(Path::new(".env"), text).expect("a good file");
        for (name, value) in [
            ("SINGLE", "pa$s\" #\\x"),
            ("DOUBLE", "pa$s"),
            ("BARE", "pa$s#x"),
            ("LONG", "a\n$b"),
            ("USES", "pa$s#x!"),
        ] {
            assert_eq!(std::env::var(format!("TERMINAL_{name}")).as_deref(), Ok(value), "{name}");
        }
    }
}
