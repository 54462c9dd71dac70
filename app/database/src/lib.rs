//! From a URL to a pool: which server it is, sessions set up for it, passwords hidden.
//!
//! [`Address::parse`] reads a URL without ever repeating its password; [`connect`] asks the server who it is
//! (`version()`, never the scheme) and answers with a [`Database`]: a SeaORM pool whose every session is
//! SERIALIZABLE and bounds what an orphaned transaction can hold. [`Database::close`] ends it. [`sqlstate`] reads the code of an error.
//!
//! What it leaves to others: transactions (crate `sea-orm-retry`), the schema (crate `migration`).

mod address;
mod close;
mod connect;
mod encryption;
mod error;
mod lifetime;
mod parameter;
mod parse;
mod pooler;
mod room;
mod server;
mod session;
mod sqlite;
mod tls;
mod watch;

pub use address::{Address, EMBEDDED_URL};
pub use connect::{Database, Options, Purpose, connect};
pub use encryption::{Encryption, encryption};
pub use error::{ConnectError, UNLICENSED};
pub use pooler::Pooler;
pub use room::CONNECTION_LIMITS;
pub use sea_orm_retry::{Server, driver_error, reason, sqlstate};
pub use watch::{Watched, answered};

/// Where the driver logs each statement once it has ended, at debug level: the target of its events, whose fields are
/// `summary` and, where that leaves something out, `db.statement`.
pub const STATEMENTS: &str = "sqlx::query";

/// Logs a statement as the driver does, for the few that the driver sends without logging: its own BEGIN and COMMIT.
pub fn log_statement(sql: &str) {
    tracing::debug!(target: STATEMENTS, summary = sql);
}
