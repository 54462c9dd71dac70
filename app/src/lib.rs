//! Seabank: a bank of accounts on CockroachDB, PostgreSQL or SQLite, with SeaORM.
//!
//! [`relation`] declares how the generated entities belong together, [`bank`] moves the money, [`setup`] makes a
//! database and a user for it, [`doctor`] says whether a database is fit for it, [`cli`] is what a person
//! or a script talks to, and the only place that prints. Start in `bank/transfer.rs`.

pub mod bank;
pub mod cli;
pub mod doctor;
pub mod relation;
pub mod setup;
