//! Every suite, on every server that can be had.

mod audit;
mod books;
mod bulk;
mod conflicts;
mod crash;
mod demo;
mod doctor;
mod durability;
mod entities;
mod faults;
mod file;
mod files;
mod harness;
mod import;
mod init;
mod migrations;
mod model;
mod nodes;
mod others;
mod plans;
mod pools;
mod printing;
mod reader;
mod rejects;
mod relations;
mod report;
mod savepoint;
mod seed;
mod server_side;
mod strange;
mod terminal;
mod tls;
mod told;
mod transaction;
mod transfer;
mod unknown;
mod workload;
mod wrong_input;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::run(&[
        ("harness", harness::tests()),
        ("init", init::tests()),
        ("doctor", doctor::tests()),
        ("migrations", migrations::tests()),
        ("others", others::tests()),
        ("entities", entities::tests()),
        ("pools", pools::tests()),
        ("transaction", transaction::tests()),
        ("savepoint", savepoint::tests()),
        ("faults", faults::tests()),
        ("relations", relations::tests()),
        ("seed", seed::tests()),
        ("bulk", bulk::tests()),
        ("import", import::tests()),
        ("rejects", rejects::tests()),
        ("server_side", server_side::tests()),
        ("strange", strange::tests()),
        ("transfer", transfer::tests()),
        ("audit", audit::tests()),
        ("file", file::tests()),
        ("plans", plans::tests()),
        ("crash", crash::tests()),
        ("nodes", nodes::tests()),
        ("durability", durability::tests()),
        ("unknown", unknown::tests()),
        ("conflicts", conflicts::tests()),
        ("model", model::tests()),
        ("workload", workload::tests()),
        ("report", report::tests()),
        ("demo", demo::tests()),
        ("tls", tls::tests()),
        ("wrong_input", wrong_input::tests()),
        ("printing", printing::tests()),
        ("terminal", terminal::tests()),
    ])
}
