//! The test harness: throw-away servers, a database per test, and a runner that runs every test on
//! every available server.
//!
//! PostgreSQL is started if `initdb` is installed, CockroachDB from `COCKROACH_BINARY` (several
//! programs, separated by `:`) or PATH, or used at `TEST_COCKROACH_URL`. Some tests need Chromium
//! or PgBouncer. `TEST_REQUIRE=postgres,cockroachdb,browser,pgbouncer` makes a missing one a
//! failure. A suite is a module with a list of tests; `tests![alone: …]` lists tests that measure
//! time and run alone, after the others. A test that exceeds its [`LIMIT`] fails by its name, and the
//! others go on:
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
//! [`Proxy`] injects network faults. An [`OwnServer`] can be crashed; a [`Cluster`] of three
//! CockroachDB nodes behind a [`Balancer`] can lose one at a time. The suites are in `tests/suite`.
//! The harness panics if it cannot do its work.

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
mod probe;
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
pub use probe::Probe;
pub use proxy::{Cut, Fault, Kind, Played, Proxy, Request};
pub use runner::{Body, EVERY, Test, run, run_on};
pub use secure::SecureCockroach;
pub use server::TestServer;
pub use tap::{Loss, Tap};
pub use web::WebFile;

/// An available server failed to start. Fails the run, because a skip would hide it.
#[derive(Debug, thiserror::Error)]
#[error("{server} was found but does not start: {reason}")]
pub struct StartError {
    server: &'static str,
    reason: String,
}

/// A suite's tests, by default on every server with the usual [`LIMIT`]: `tests![one, two on
/// &[Server::Postgres], three within 900 s, four within 900 s on &[Server::Postgres]]`.
/// `tests![alone: one, two]` run alone.
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
