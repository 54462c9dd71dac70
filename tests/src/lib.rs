//! The harness: throw-away servers, a database of its own for each test, and a runner that tries every test on
//! every server that can be had.
//!
//! SQLite is always there. PostgreSQL is started from `initdb` where that is installed, CockroachDB from
//! `COCKROACH_BINARY` or PATH, or used where `TEST_COCKROACH_URL` says. `COCKROACH_BINARY` may name several programs, separated by `:`; the
//! tests run on each, and the names of tests name the version. Chromium looks at pages, and PgBouncer stands before PostgreSQL, where they are installed.
//! `TEST_REQUIRE=postgres,cockroachdb,browser,pgbouncer` makes a missing one a failure. A suite is a module with a list of its tests;
//! those of `tests![alone: …]` run while no other does, for they say how long something may take. A test that exceeds its
//! limit ([`LIMIT`], or what it declares) fails by its name, and the others go on:
//!
//! ```ignore
//! pub(crate) fn tests() -> Vec<tests::Test> {
//!     tests::tests![the_books_balance, an_orphan_is_ended on &[Server::Postgres]]
//! }
//!
//! async fn the_books_balance(server: &TestServer) {
//!     let bank = server.database().await;
//!     bank.seabank().args(["seed", "--count", "10"]).assert().success();
//! }
//! ```
//!
//! Faults of the network come from [`Proxy`]. An [`OwnServer`] is there to be crashed, and a [`Cluster`] of three nodes of CockroachDB, behind a
//! [`Balancer`], to lose one after the other; both are started by the test that needs them, where there is a program to start. What it leaves to others:
//! what is tested (`tests/suite`).

mod balancer;
mod binaries;
mod browser;
mod certificates;
mod children;
mod cluster;
mod cockroach;
mod database;
mod disk;
mod found;
mod limit;
mod node;
mod own;
mod patience;
mod pgbouncer;
mod postgres;
mod process;
mod proxy;
mod runner;
mod secure;
mod server;
mod slowest;
mod tap;
mod user;
mod web;

pub use balancer::{Backend, Balancer};
pub use binaries::command;
pub use browser::{Browser, Seen};
pub use certificates::Certificates;
pub use cluster::Cluster;
pub use cockroach::Cockroach;
pub use database::{TestDatabase, scalar, scalar_in};
pub use disk::FaultyDisk;
pub use found::Found;
pub use limit::LIMIT;
pub use own::OwnServer;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use proxy::{Cut, Fault, Kind, Played, Proxy, Request};
pub use runner::{Body, EVERY, Test, run, run_on};
pub use secure::SecureCockroach;
pub use server::TestServer;
pub use tap::{Loss, Tap};
pub use web::WebFile;

/// A server that was found but cannot be used: the run fails, for a skip would hide it.
#[derive(Debug, thiserror::Error)]
#[error("{server} was found but does not start: {reason}")]
pub struct StartError {
    server: &'static str,
    reason: String,
}

/// The tests of a suite by name, each on every server or `on` some, and with the usual [`LIMIT`] or one of its own:
/// `tests![one, two on &[Server::Postgres], three within 900 s, four within 900 s on &[Server::Postgres]]`. Those of
/// `tests![alone: one, two]` run while no other does.
#[macro_export]
macro_rules! tests {
    (@on) => { $crate::EVERY };
    (@on $servers:expr) => { $servers };
    (@limit) => { $crate::LIMIT };
    (@limit $seconds:literal) => { ::std::time::Duration::from_secs($seconds) };
    (@alone $alone:literal $($name:ident $(within $seconds:literal s)? $(on $servers:expr)?),* $(,)?) => {
        vec![$($crate::Test {
            name: stringify!($name),
            on: $crate::tests!(@on $($servers)?),
            alone: $alone,
            limit: $crate::tests!(@limit $($seconds)?),
            body: |server| Box::pin($name(server)),
        }),*]
    };
    (alone: $($tests:tt)*) => { $crate::tests!(@alone true $($tests)*) };
    ($($tests:tt)*) => { $crate::tests!(@alone false $($tests)*) };
}
