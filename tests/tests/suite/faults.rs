//! Transactions under faults of the network and the server: `cargo test -p tests --test suite --
//! faults`
//!
//! [`tests::Proxy`] puts faults on the wire. A direct connection reads what the server holds.
#![expect(clippy::print_stdout, reason = "the tables of results are to be seen")]

mod arena;
mod bulk;
mod cell;
mod chunk;
mod matrix;
mod point;
mod script;
mod table;
mod trouble;

use database::Server;
use tests::{Test, tests};

use bulk::lost_answers_neither_repeat_nor_lose_a_transfer;
use matrix::every_fault_at_every_point_ends_as_declared;

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        every_fault_at_every_point_ends_as_declared within 600 s on WIRE,
        lost_answers_neither_repeat_nor_lose_a_transfer within 1800 s on WIRE,
    ]
}
