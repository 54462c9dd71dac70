//! Refuses statements that would end the transaction they are sent in, or weaken later ones.
//!
//! PostgreSQL and CockroachDB refuse several statements in one prepared text themselves, so only
//! the head is read: blanks, semicolons, comments and up to three words. SQLite runs all of a text,
//! so each piece behind a semicolon is read. Texts that servers could read differently (a non-ASCII
//! blank, a nested comment, a NUL) are refused.

use crate::Server;

/// Whether a statement changes the session, so that the connection has to be closed after the
/// transaction; or why it may not be sent. `writes`: whether the transaction can write.
pub(crate) fn check(server: Server, writes: bool, sql: &str) -> Result<bool, String> {
    if sql.contains('\0') {
        return Err("it contains a NUL character".to_owned());
    }
    if is_plain(sql) {
        return Ok(false);
    }
    let pieces = if server == Server::Sqlite { pieces(sql) } else { vec![sql] };
    let (mut in_trigger, mut is_empty, mut changes_session) = (false, true, false);
    for piece in pieces {
        if in_trigger {
            // The trigger ends where a piece is END.
            in_trigger = !piece.trim_matches(is_blank).eq_ignore_ascii_case("END");
            continue;
        }
        let words = head(piece)?;
        let words = words.each_ref().map(String::as_str);
        match words {
            [ddl, ..] if server == Server::Cockroach && writes && DDL.contains(&ddl) => {
                return Err(format!(
                    "{ddl} can commit what came before it on CockroachDB: run it outside the transaction"
                ));
            }
            ["PRAGMA", ..] if !writes && piece.to_ascii_lowercase().contains("query_only") => {
                return Err("this transaction only reads".to_owned());
            }
            ["CREATE", "TRIGGER", _] | ["CREATE", "TEMP" | "TEMPORARY", "TRIGGER"] => in_trigger = true,
            words => changes_session |= judge(words)?,
        }
        is_empty &= words[0].is_empty();
    }
    if is_empty { Err("it is empty".to_owned()) } else { Ok(changes_session) }
}

/// Why a text is not one COPY. The driver sends it as a simple query, which can hold more
/// statements, so a semicolon may only end the text or be a quoted character.
pub(crate) fn check_copy(sql: &str) -> Result<(), String> {
    let inner = sql.trim_end_matches(|c| is_blank(c) || c == ';').replace("';'", "");
    let is_one = head(sql)?[0] == "COPY" && !inner.contains([';', '\0']);
    if is_one { Ok(()) } else { Err(format!("refused: copy_in takes one COPY and nothing else: {sql}")) }
}

const DDL: [&str; 11] = [
    "ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "IMPORT", "REASSIGN", "REFRESH", "RESTORE", "REVOKE",
    "TRUNCATE",
];

/// What `SET` may not change, because BEGIN sets it.
const SET_BY_BEGIN: [&str; 5] = [
    "TRANSACTION",
    "CHARACTERISTICS",
    "TRANSACTION_ISOLATION",
    "TRANSACTION_READ_ONLY",
    "TRANSACTION_DEFERRABLE",
];

/// Whether a statement is plain DML. Without a semicolon it cannot hold anything else. The letters
/// before anything else are enough: no other statement begins with one of these words.
fn is_plain(sql: &str) -> bool {
    let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let is_word = |it: &&str| word.eq_ignore_ascii_case(it);
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(is_word) && !sql.contains(';')
}

/// Whether a statement changes the session, unless it may not be sent.
fn judge(words: [&str; 3]) -> Result<bool, String> {
    match words {
        ["PREPARE", "TRANSACTION", _] => Err("PREPARE TRANSACTION belongs to the runner".to_owned()),
        [
            first @ ("ABORT" | "BEGIN" | "COMMIT" | "END" | "RELEASE" | "ROLLBACK" | "SAVEPOINT" | "START"),
            ..,
        ] => Err(format!("{first} belongs to the runner")),
        ["SET", "LOCAL" | "SESSION", name] | ["SET", name, _] if SET_BY_BEGIN.contains(&name) => {
            Err(format!("SET {name} belongs to the runner: use its policy"))
        }
        [ends @ ("DISCARD" | "DEALLOCATE"), ..] => {
            Err(format!("{ends} ends prepared statements that the driver keeps"))
        }
        ["COPY", ..] => Err("COPY needs a protocol of its own: use Tx::copy_in".to_owned()),
        ["SET", "LOCAL" | "CONSTRAINTS", _] => Ok(false),
        ["SET" | "RESET" | "PREPARE" | "LISTEN" | "UNLISTEN" | "LOAD", ..] => Ok(true),
        _ => Ok(false),
    }
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

/// The first three words of a text in capitals, empty where it has fewer. A text that begins with
/// `(` has one word, `(`.
fn head(sql: &str) -> Result<[String; 3], String> {
    let mut words: [String; 3] = Default::default();
    let mut rest = sql;
    for (n, place) in words.iter_mut().enumerate() {
        rest = skip(rest, n == 0)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$');
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        if !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            break;
        }
        *place = word.to_ascii_uppercase();
        rest = after;
    }
    match rest.chars().next() {
        Some('(') if words[0].is_empty() => words[0].push('('),
        Some(other) if words[0].is_empty() => return Err(format!("it begins with {other:?}")),
        _ => {}
    }
    Ok(words)
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
