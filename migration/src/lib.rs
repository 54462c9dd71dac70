//! The schema, one change per file, and the migrator that applies it.
//!
//! Start with the `m2026…` files. [`up`] applies pending migrations, [`pending`] lists them without
//! writing, [`run`] executes any command. Each can be repeated, and concurrent migrators take a
//! lock.
//!
//! A migration changes one thing and uses `IF [NOT] EXISTS`: on CockroachDB it may run again after
//! a crash. On SQLite and PostgreSQL a command is one transaction.
//!
//! [`cli`] is shared by the binary `migration` and `seabank migrate`.

mod catalog;
pub mod cli;
mod command;
mod dialect;
mod error;
mod location;
mod lock;
mod object;
mod one_object;
mod run;
mod state;
mod tables;

mod m20260101_000001_create_accounts;
mod m20260101_000002_create_transfers;
mod m20260101_000003_index_transfers_source;
mod m20260101_000004_index_transfers_target;
mod m20260101_000005_create_points;
mod m20260101_000006_create_batches;

use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait};

pub use command::{Command, Report};
pub use error::Error;
use one_object::OneObject;
pub use run::{droppable, run, up};
pub use state::{pending, status, total, unapplied, verify};

/// The schema.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migrations().into_iter().map(|each| each as Box<dyn MigrationTrait>).collect()
    }
}

/// The schema without foreign keys, for generating the entities and for tests.
#[derive(Debug)]
pub struct WithoutForeignKeys;

impl MigratorTrait for WithoutForeignKeys {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        use m20260101_000002_create_transfers::WithoutForeignKeys as Transfers;

        Migrator::migrations()
            .into_iter()
            .map(|each| if each.name() == Transfers.name() { Box::new(Transfers) } else { each })
            .collect()
    }
}

/// All migrations in order. Last in this file: `sea-orm-cli migrate generate` rewrites the list.
fn migrations() -> Vec<Box<dyn OneObject>> {
    vec![
        Box::new(m20260101_000001_create_accounts::Migration),
        Box::new(m20260101_000002_create_transfers::Migration),
        Box::new(m20260101_000003_index_transfers_source::Migration),
        Box::new(m20260101_000004_index_transfers_target::Migration),
        Box::new(m20260101_000005_create_points::Migration),
        Box::new(m20260101_000006_create_batches::Migration),
    ]
}
