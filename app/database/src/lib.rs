//! From a URL to a connection pool.
//!
//! [`Address::parse`] parses a URL and hides its password. [`connect`] detects the server by
//! `version()`, never by the scheme, and returns a [`Database`]: a SeaORM pool whose sessions are
//! SERIALIZABLE and have timeouts for orphaned transactions. [`Database::close`] closes it.
//!
//! Transactions are in the crate `sea-orm-retry`, the schema in the crate `migration`.

mod address;
mod close;
mod connect;
mod connection_limit;
mod encryption;
mod error;
mod lifetime;
mod parameter;
mod parameters;
mod parse;
mod pooler;

mod server;
mod session;
mod sqlite;
mod tls;
mod watch;

pub use address::{Address, EMBEDDED_URL};
pub use connect::{Database, Options, Purpose, connect};
pub use connection_limit::CONNECTION_LIMITS;
pub use encryption::{Encryption, encryption};
pub use error::{ConnectError, UNLICENSED};
pub use parameters::{PARAMETERS, Parameters};
pub use pooler::Pooler;
pub use sea_orm_retry::{Server, driver_error, reason, sqlstate};
pub use watch::{Watched, answered};

/// The target of the driver's debug events, one per finished statement, with the fields `summary`
/// and, if that is shortened, `db.statement`.
pub const STATEMENTS: &str = "sqlx::query";

/// Logs a statement that the driver does not log: its own BEGIN and COMMIT.
pub fn log_statement(sql: &str) {
    tracing::debug!(target: STATEMENTS, summary = sql);
}
