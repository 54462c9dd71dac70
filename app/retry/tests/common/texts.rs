//! Random texts beside the server's own word. Also run on servers, by the suites of the workspace.

use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_retry::{Runner, Tx};

use super::{ids, insert};

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    /// PostgreSQL's and CockroachDB's.
    Wire,
}

const COMMON: [&str; 34] = [
    "COMMIT",
    "ROLLBACK",
    "END",
    "BEGIN",
    "SAVEPOINT a",
    "RELEASE a",
    "ROLLBACK TO a",
    "SELECT 1",
    "INSERT INTO log VALUES (7)",
    ";",
    ";",
    " ",
    "\n",
    "\r",
    "\t",
    "\x0b",
    "\x0c",
    "\u{a0}",
    "\u{feff}",
    "--",
    "/*",
    "*/",
    "'",
    "\"",
    "`",
    "[",
    "]",
    "(",
    ")",
    "x",
    "$$",
    "\\",
    "é",
    "EXPLAIN",
];

const SQLITE: [&str; 4] = [
    "CREATE TRIGGER t AFTER INSERT ON log BEGIN ",
    "CREATE TEMP TRIGGER t AFTER DELETE ON log BEGIN SELECT 1; END",
    "TRIGGER",
    "CREATE",
];

const WIRE: [&str; 22] = [
    "ABORT",
    "START TRANSACTION",
    "COMMIT AND CHAIN",
    "PREPARE TRANSACTION 'a'",
    "COMMIT PREPARED 'a'",
    "WORK",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "SET LOCAL ",
    "SET ",
    "RESET ALL",
    "PREPARE p AS ",
    "EXECUTE p",
    "DO $$ BEGIN COMMIT; END $$",
    "DO $a$ BEGIN PERFORM 1; END $a$",
    "CALL over()",
    "$a$",
    "E'\\'",
    "U&'",
    "WITH x AS (SELECT 1) ",
    "SHOW transaction_isolation",
    "DISCARD ALL",
];

pub(crate) fn text(dialect: Dialect) -> impl Strategy<Value = String> {
    let own: &[&str] = if dialect == Dialect::Sqlite { &SQLITE } else { &WIRE };
    let parts: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    proptest::collection::vec(proptest::sample::select(parts), 1..9).prop_map(|parts| parts.concat())
}

/// Sends a text in a run that is rolled back, and in one that is committed: the run's own row is there if and only if the run
/// says so, and no transaction is left open. The table `log` is empty before and after; `other` is another pool on it.
pub(crate) async fn leaves_no_hole(
    runner: &Runner,
    db: &DatabaseConnection,
    other: &DatabaseConnection,
    dialect: Dialect,
    sql: &str,
) {
    for commits in [false, true] {
        let body = async |tx: &Tx| {
            insert(tx, 1).await?;
            let _ = tx.execute_unprepared(sql).await;
            if commits { Ok(()) } else { Err(DbErr::Custom("rolled back".to_owned())) }
        };
        let applied = runner.run("text", body).await.is_ok();
        let seen = ids(other).await.expect("readable");
        assert_eq!(seen.contains(&1), applied, "{sql:?} ended the transaction, which commits: {commits}");
        if dialect == Dialect::Sqlite {
            db.execute_unprepared("DROP TRIGGER IF EXISTS t").await.expect("nothing is open");
        }
        db.execute_unprepared("DELETE FROM log").await.expect("nothing is open");
        insert(db, 2).await.expect("nothing is open");
        assert_eq!(
            ids(other).await,
            Ok(vec![2]),
            "{sql:?} left a transaction open, which commits: {commits}"
        );
        db.execute_unprepared("DELETE FROM log").await.expect("nothing is open");
    }
}
