//! Refuses statements that would end or nest the transaction they are sent in.

use database::Server;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::tokenizer::{Token, Tokenizer};

/// Statements that begin, end or nest a transaction.
const CONTROL: [&str; 8] = ["ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT", "START"];

/// What most statements start with; without a semicolon they cannot be anything else.
const PLAIN: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];

/// Why a text may not be sent inside a transaction, or `None` where it may.
pub(crate) fn refusal(server: Server, sql: &str) -> Option<String> {
    let word = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if PLAIN.iter().any(|plain| word.eq_ignore_ascii_case(plain)) && !sql.contains(';') {
        return None;
    }
    let dialect: &dyn Dialect = match server {
        Server::Sqlite => &SQLiteDialect {},
        Server::Postgres | Server::Cockroach => &PostgreSqlDialect {},
    };
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize() else {
        return Some("its text cannot be read".to_owned());
    };
    let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let statements: Vec<&[Token]> =
        tokens.split(|token| *token == Token::SemiColon).filter(|statement| !statement.is_empty()).collect();
    match statements[..] {
        [] => Some("it is empty".to_owned()),
        [statement] => control(statement).map(|word| format!("{word} belongs to the runner")),
        _ => Some("it holds several statements".to_owned()),
    }
}

fn control(statement: &[Token]) -> Option<String> {
    let word = |n: usize| match statement.get(n) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let first = word(0);
    let is_control = CONTROL.contains(&first.as_str()) || (first == "PREPARE" && word(1) == "TRANSACTION");
    is_control.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_refused_however_it_is_dressed() {
        for sql in [
            "BEGIN",
            "begin immediate",
            "  commit ;",
            "-- done\nCOMMIT",
            "/* a /* nested */ comment */ ROLLBACK",
            "Rollback to savepoint cockroach_restart",
            "SAVEPOINT a",
            "RELEASE SAVEPOINT a",
            "END",
            "ABORT",
            "START TRANSACTION",
            "PREPARE TRANSACTION 'a'",
            "COMMIT PREPARED 'a'",
            ";COMMIT",
            "SELECT 1; COMMIT",
            "INSERT INTO t VALUES ('a;b'); INSERT INTO t VALUES ('c')",
            "SELECT $$ ; $$ ; SELECT 2",
            "",
            " -- nothing",
        ] {
            assert!(refusal(Server::Postgres, sql).is_some(), "{sql}");
            assert!(refusal(Server::Cockroach, sql).is_some(), "{sql}");
        }
        assert_eq!(refusal(Server::Postgres, " -- nothing").as_deref(), Some("it is empty"));
        // SQLite's comments do not nest: this one ends at the first mark, and COMMIT is a statement.
        assert!(refusal(Server::Sqlite, "/* /* */ COMMIT").is_some());
    }

    #[test]
    fn other_statements_pass() {
        for sql in [
            "SELECT 1",
            "select 'COMMIT; ROLLBACK'",
            "SELECT 1;",
            "INSERT INTO t VALUES ('a;b')",
            "WITH j AS (SELECT 1) SELECT * FROM j",
            "(SELECT 1)",
            "EXPLAIN SELECT 1",
            "SET LOCAL lock_timeout = 1000",
            "CREATE TABLE savepoint_log (id INT8)",
            "PREPARE transfer AS SELECT 1",
            "PREPARE \"TRANSACTION\" AS SELECT 1",
            "-- begin\nSELECT 1",
        ] {
            for server in [Server::Sqlite, Server::Postgres, Server::Cockroach] {
                assert_eq!(refusal(server, sql), None, "{sql} on {server}");
            }
        }
    }
}
