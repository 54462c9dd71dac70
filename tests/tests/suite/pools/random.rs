//! The crate's random nestings and texts on real servers.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sea_orm_retry::{Policy, Runner};
use tests::{Test, TestServer, tests};

use super::nestings::{agrees_with_a_model, steps};
use super::texts::{escapes_no_transaction, text};
use super::{Log, POSTGRES, WIRE, execute, open};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        random_nestings_agree_with_a_model on WIRE,
        no_random_text_escapes_its_transaction on WIRE,
    ]
}

/// Fragments that PostgreSQL and CockroachDB know.
const OWN: [&str; 22] = [
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

const CASES: usize = 300;

/// A failure prints its case.
fn cases<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    let mut case = || strategy.new_tree(&mut runner).expect("a case").current();
    (0..CASES).map(|_| case()).collect()
}

async fn random_nestings_agree_with_a_model(server: &TestServer) {
    let log = Log::new(server, 1).await;
    for steps in cases(steps()) {
        agrees_with_a_model(&log.runner, &log.db, &steps).await;
    }
}

async fn no_random_text_escapes_its_transaction(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let other = open(log.test.url(), 1).await;
    if POSTGRES.contains(&server.server) {
        // Outside a client's transaction it commits.
        execute(&log.db, "CREATE PROCEDURE over() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'").await;
    }
    let runner = Runner::new(&log.db, Policy { attempts_max: 3, ..Policy::default() });
    for sql in cases(text(&OWN)) {
        escapes_no_transaction(&runner, &log.db, &other, "DELETE FROM log", &sql).await;
    }
}
