//! Random SQL texts against the server's behaviour. The workspace's suites run them on servers.

use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_retry::{Runner, Tx};

use super::{ids, insert};

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

pub(crate) fn text(own: &[&'static str]) -> impl Strategy<Value = String> {
    let parts: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    proptest::collection::vec(proptest::sample::select(parts), 1..9).prop_map(|parts| parts.concat())
}

/// Sends a text in a run that is rolled back and in one that commits. The run's row exists if and
/// only if the run reports it, and no transaction stays open. `clear` empties `log`.
pub(crate) async fn escapes_no_transaction(
    runner: &Runner,
    db: &DatabaseConnection,
    other: &DatabaseConnection,
    clear: &str,
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
        db.execute_unprepared(clear).await.expect("no transaction is open");
        insert(db, 2).await.expect("no transaction is open");
        assert_eq!(
            ids(other).await,
            Ok(vec![2]),
            "{sql:?} left a transaction open, which commits: {commits}"
        );
        db.execute_unprepared(clear).await.expect("no transaction is open");
    }
}
