//! Every suite, on every server that can be had.

mod audit;
mod books;
mod demo;
mod entities;
mod faults;
mod migrations;
mod plans;
mod relations;
mod seed;
mod transaction;
mod transfer;
mod wrong_input;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::run(&[
        ("migrations", migrations::tests()),
        ("entities", entities::tests()),
        ("transaction", transaction::tests()),
        ("faults", faults::tests()),
        ("relations", relations::tests()),
        ("seed", seed::tests()),
        ("transfer", transfer::tests()),
        ("audit", audit::tests()),
        ("plans", plans::tests()),
        ("demo", demo::tests()),
        ("wrong_input", wrong_input::tests()),
    ])
}
