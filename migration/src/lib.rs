//! The schema, one change per file, and what applies it.
//!
//! Start in the `m2026…` files, in the order of their names. [`up`] brings a database up to date, [`pending`] says
//! what is missing without writing anything, [`run`] does what the commands of the binary say. Each is safe to run
//! again and safe beside another one: on a server they take turns (module `turn`).
//!
//! A new migration changes one thing, and says `IF [NOT] EXISTS`: CockroachDB commits a schema change by itself, so
//! what was begun may have to be done again. SQLite and PostgreSQL get all that one command does in one transaction.
//!
//! [`cli`] is what the binary `migration` and `seabank migrate` have in common.
//!
//! What it leaves to others: connecting (crate `database`), data (crate `app`), printing (the binaries).

mod catalog;
pub mod cli;
mod dialect;
mod error;
mod object;
mod place;
mod run;
mod state;
mod turn;

mod m20260101_000001_create_accounts;
mod m20260101_000002_create_transfers;
mod m20260101_000003_index_transfers_source;
mod m20260101_000004_index_transfers_target;
mod m20260101_000005_create_points;
mod m20260101_000006_create_batches;

use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, async_trait};

pub use error::Error;
pub use run::{Command, Report, droppable, run, up};
pub use state::{pending, status, total, unapplied, verify};

/// The same schema without its foreign keys: the entities are generated from it, and joins are tested on it.
#[derive(Debug)]
pub struct WithoutForeignKeys;

#[async_trait::async_trait]
impl MigratorTrait for WithoutForeignKeys {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        use m20260101_000002_create_transfers::WithoutForeignKeys as Transfers;

        Migrator::migrations()
            .into_iter()
            .map(|each| if each.name() == Transfers.name() { Box::new(Transfers) } else { each })
            .collect()
    }
}

/// The schema. The list stays last in this file: `sea-orm-cli migrate generate` writes into it.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_create_accounts::Migration),
            Box::new(m20260101_000002_create_transfers::Migration),
            Box::new(m20260101_000003_index_transfers_source::Migration),
            Box::new(m20260101_000004_index_transfers_target::Migration),
            Box::new(m20260101_000005_create_points::Migration),
            Box::new(m20260101_000006_create_batches::Migration),
        ]
    }
}
