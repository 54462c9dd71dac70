//! Seabank: a bank of accounts on CockroachDB, PostgreSQL or SQLite, with SeaORM.
//!
//! [`relation`] declares the relations between the generated entities, [`bank`] moves the money,
//! [`setup`] creates a database and a user, [`doctor`] checks whether a database is ready, and
//! [`cli`] prints. Start in `bank/transfer.rs`.

pub mod bank;
pub mod cli;
pub mod doctor;
pub mod relation;
pub mod setup;
