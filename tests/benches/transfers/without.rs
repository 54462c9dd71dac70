//! The cost of each thing that a transfer does and an UPDATE of two balances does not.

use seabank::bank::transfer::Style;
use tests::TestServer;

use crate::bank::{bank, execute};
use crate::figures::{ratio, show};
use crate::pgbench::Protocol::Prepared;
use crate::{ACCOUNTS, ROUNDS, pgbench, script};

/// What is removed, and how.
const LEFT_OUT: [(&str, &[&str]); 4] = [
    ("nothing", &[]),
    ("the foreign keys", &FOREIGN_KEYS),
    ("the checks", &CHECKS),
    ("the foreign keys and both indexes", &[FOREIGN_KEYS[0], FOREIGN_KEYS[1], INDEXES[0], INDEXES[1]]),
];

const FOREIGN_KEYS: [&str; 2] = [
    "ALTER TABLE transfers DROP CONSTRAINT transfers_source_id_fkey",
    "ALTER TABLE transfers DROP CONSTRAINT transfers_target_id_fkey",
];

/// CockroachDB needs the indexes for the foreign keys.
const INDEXES: [&str; 2] = ["DROP INDEX transfers_source_id_idx", "DROP INDEX transfers_target_id_idx"];

const CHECKS: [&str; 4] = [
    "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_check",
    "ALTER TABLE accounts DROP CONSTRAINT accounts_opening_balance_check",
    "ALTER TABLE transfers DROP CONSTRAINT transfers_amount_check",
    "ALTER TABLE transfers DROP CONSTRAINT transfers_accounts_check",
];

/// Only the two balances, with the same arithmetic.
const UPDATE: &str = "UPDATE accounts SET balance = balance + CASE id WHEN CAST(:source AS INT8) THEN -1 ELSE 1 END \
    WHERE id IN (CAST(:source AS INT8), CAST(:target AS INT8))";

pub(crate) async fn measure(server: &TestServer) {
    let mut ways = Vec::new();
    for (name, statements) in LEFT_OUT {
        let test = bank(server, ACCOUNTS).await;
        let script = script::of(&test, Style::Single, ACCOUNTS).await;
        execute(&test, statements).await;
        ways.push((format!("without {name}"), test, script));
    }
    let test = bank(server, ACCOUNTS).await;
    ways.push(("without the journal".to_owned(), test, format!("{}{UPDATE};", script::draws(ACCOUNTS))));

    for clients in [1, 16] {
        println!("\nthe statement of single by pgbench, transfers/s, clients: {clients}, taking turns");
        let mut figures: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((_, test, script), figures) in ways.iter().zip(&mut figures) {
                figures.push(pgbench::run(test, script, clients, Prepared));
            }
        }
        for ((name, ..), figures) in ways.iter().zip(&figures) {
            show(name, figures);
        }
        for ((name, ..), without) in ways.iter().zip(&figures).skip(1) {
            ratio(&format!("{name} / whole"), without, &figures[0]);
        }
    }
}
