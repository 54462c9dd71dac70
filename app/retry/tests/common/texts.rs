//! Random texts beside the server's own word. Also run on servers, by the suites of the workspace.

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

/// Texts from parts that every server knows, and from `own` ones.
pub(crate) fn text(own: &[&'static str]) -> impl Strategy<Value = String> {
    let parts: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    proptest::collection::vec(proptest::sample::select(parts), 1..9).prop_map(|parts| parts.concat())
}

/// Sends a text in a run that is rolled back, and in one that is committed: the run's own row is
/// there if and only if the run says so, and no transaction is left open. The table `log` is empty
/// before and after; `clear` empties it, and `other` is another pool on it.
pub(crate) async fn leaves_no_hole(
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
        db.execute_unprepared(clear).await.expect("nothing is open");
        insert(db, 2).await.expect("nothing is open");
        assert_eq!(
            ids(other).await,
            Ok(vec![2]),
            "{sql:?} left a transaction open, which commits: {commits}"
        );
        db.execute_unprepared(clear).await.expect("nothing is open");
    }
}
