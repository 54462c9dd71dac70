//! Refuses statements that would end or nest the transaction they are sent in, or weaken those after it.
//!
//! PostgreSQL and CockroachDB refuse several statements in one prepared text themselves, so only the head is read: blanks,
//! semicolons, comments and up to three words. SQLite runs all of a text, so each piece behind a semicolon is read.
//! Whatever servers could read differently (a non-ASCII blank, a nested comment, a NUL) is refused.

use crate::Server;

/// Why a text may not be sent in a transaction; otherwise whether it changes the session, so that the connection has to be closed
/// after the transaction. `writes`: whether the transaction can write.
pub(crate) fn check(server: Server, writes: bool, sql: &str) -> Result<bool, String> {
    if sql.contains('\0') {
        return Err("it contains a NUL character".to_owned());
    }
    if is_plain(sql) {
        return Ok(false);
    }
    match server {
        Server::Sqlite => sqlite(writes, sql).map(|()| false),
        Server::Postgres | Server::Cockroach => {
            let words = head(sql)?;
            if server == Server::Cockroach && writes && is_ddl(&words) {
                let word = &words[0];
                return Err(format!(
                    "{word} can commit what came before it on CockroachDB: run it outside the transaction"
                ));
            }
            wire(&words)
        }
    }
}

/// What most statements are: without a semicolon they cannot be anything else.
fn is_plain(sql: &str) -> bool {
    let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let next = sql.as_bytes().get(word.len());
    let ends = next.is_none_or(|next| next.is_ascii() && !next.is_ascii_alphanumeric() && *next != b'_');
    ends && ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|it| word.eq_ignore_ascii_case(it))
        && !sql.contains(';')
}

fn wire(words: &[String]) -> Result<bool, String> {
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    control(words)?;
    match word(0) {
        "SET" => {
            let scope = usize::from(matches!(word(1), "LOCAL" | "SESSION"));
            let name = word(1 + scope);
            let own = ["TRANSACTION", "CHARACTERISTICS", "TRANSACTION_ISOLATION", "TRANSACTION_READ_ONLY"];
            if own.contains(&name) || name == "TRANSACTION_DEFERRABLE" {
                return Err(format!("SET {name} belongs to the runner: use its policy"));
            }
            Ok(word(1) != "LOCAL" && name != "CONSTRAINTS")
        }
        "DISCARD" | "DEALLOCATE" => {
            Err(format!("{} ends prepared statements that the driver keeps", word(0)))
        }
        "COPY" => Err("COPY needs a protocol of its own: use Tx::copy_in".to_owned()),
        "RESET" | "PREPARE" | "LISTEN" | "UNLISTEN" | "LOAD" => Ok(true),
        _ => Ok(false),
    }
}

fn control(words: &[String]) -> Result<(), String> {
    const CONTROL: [&str; 8] =
        ["ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT", "START"];
    match words {
        [] => Err("it is empty".to_owned()),
        [first, ..] if CONTROL.contains(&first.as_str()) => Err(format!("{first} belongs to the runner")),
        [first, second, ..] if first == "PREPARE" && second == "TRANSACTION" => {
            Err("PREPARE TRANSACTION belongs to the runner".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_ddl(words: &[String]) -> bool {
    words.first().is_some_and(|word| {
        [
            "ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "IMPORT", "REASSIGN", "REFRESH", "RESTORE",
            "REVOKE", "TRUNCATE",
        ]
        .contains(&word.as_str())
    })
}

fn sqlite(writes: bool, sql: &str) -> Result<(), String> {
    let mut in_trigger = false;
    let mut empty = true;
    for piece in pieces(sql) {
        if in_trigger {
            // The trigger ends where a piece is END.
            in_trigger = !piece.trim_matches(is_blank).eq_ignore_ascii_case("END");
            continue;
        }
        let words = head(piece)?;
        let Some(first) = words.first() else { continue };
        empty = false;
        control(&words)?;
        if first == "PRAGMA" && !writes && piece.to_ascii_lowercase().contains("query_only") {
            return Err("this transaction only reads".to_owned());
        }
        in_trigger = first == "CREATE"
            && words
                .iter()
                .skip(1)
                .find(|it| !matches!(it.as_str(), "TEMP" | "TEMPORARY"))
                .is_some_and(|it| it == "TRIGGER");
    }
    if empty { Err("it is empty".to_owned()) } else { Ok(()) }
}

/// A text cut at each semicolon outside quotes and comments, as SQLite reads it.
fn pieces(sql: &str) -> Vec<&str> {
    let bytes = sql.as_bytes();
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    let find = |from: usize, what: &str| {
        sql[from..].find(what).map_or(bytes.len(), |found| from + found + what.len())
    };
    while at < bytes.len() {
        at = match bytes[at] {
            quote @ (b'\'' | b'"' | b'`') => {
                // A doubled quote closes and opens again, which comes to the same.
                bytes[at + 1..].iter().position(|it| *it == quote).map_or(bytes.len(), |found| at + found + 2)
            }
            b'[' => find(at, "]"),
            b'-' if bytes.get(at + 1) == Some(&b'-') => find(at, "\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => find(at + 2, "*/"),
            b';' => {
                pieces.push(&sql[start..at]);
                start = at + 1;
                start
            }
            _ => at + 1,
        };
    }
    pieces.push(&sql[start..]);
    pieces
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// The first words of a text, up to three, in capitals; none where it is empty. A text that begins with `(` has one word, `(`.
fn head(sql: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while words.len() < 3 {
        rest = skip(rest, words.is_empty())?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$');
        let word = &rest[..end.unwrap_or(rest.len())];
        if word.is_empty() || !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            break;
        }
        words.push(word.to_ascii_uppercase());
        rest = &rest[word.len()..];
    }
    match rest.chars().next() {
        Some(_) if !words.is_empty() => Ok(words),
        None => Ok(words),
        Some('(') => Ok(vec!["(".to_owned()]),
        Some(other) => Err(format!("it begins with {other:?}")),
    }
}

/// Skips blanks and comments, and semicolons too `at_start`.
fn skip(sql: &str, at_start: bool) -> Result<&str, String> {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c| is_blank(c) || (at_start && c == ';'));
        if let Some(comment) = rest.strip_prefix("--") {
            let line = comment.split('\n').next().unwrap_or_default();
            if line.contains('\r') {
                return Err("servers disagree on where its comment ends".to_owned());
            }
            rest = &comment[line.len()..];
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or("its comment does not end")?;
            if comment[..end].contains("/*") {
                return Err("servers disagree on where its comment ends".to_owned());
            }
            rest = &comment[end + 2..];
        } else {
            return Ok(rest);
        }
    }
}

#[cfg(test)]
mod tests;
