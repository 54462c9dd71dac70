//! The bank: accounts, bulk loads, transfers, the audit. It knows the schema and prints nothing.

pub mod accounts;
pub mod audit;
mod batch;
mod bulk;
pub mod csv;
pub mod export;
pub mod file;
pub mod import;
pub mod load;
mod moment;
mod money;
mod panic;
mod past;
pub mod pay;
pub mod points;
mod record;
mod row;
mod runner;
pub mod seed;
pub mod server_side;
mod statistics;
pub mod transfer;
pub mod workload;

pub use moment::rfc3339;
pub use money::{AccountId, Amount, AmountError};
pub use panic::Panicked;
pub use row::{Holding, Movement};

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Server};
use sea_orm::DbErr;
use sea_orm_retry::{Counts, Policy};

use pay::Gate;
pub use runner::{Error, Runner};

/// A bank on one database. Cloning shares the pool and the counts.
#[derive(Clone)]
pub struct Bank {
    runner: Runner,
    /// Where chunks of transfers wait for each other.
    gate: Arc<Gate>,
}

/// What reading can end in; nothing is changed by it.
pub type ReadError = Error<DbErr>;

impl Bank {
    /// The bank on `database`, whose transactions are tried again under `policy`.
    #[must_use]
    pub fn new(database: &Database, policy: Policy) -> Self {
        Self::on(Runner::new(database, policy))
    }

    /// The bank on any runner: one that records what is sent, or one that fails on purpose.
    #[must_use]
    pub fn on(runner: Runner) -> Self {
        Self { runner, gate: Arc::default() }
    }

    /// The same bank for one worker of so many that each run one transaction after the other: see [`Runner::for_one_of`].
    #[must_use]
    pub fn for_one_of(&self, workers: u32) -> Self {
        Self { runner: self.runner.for_one_of(workers), ..self.clone() }
    }

    /// The same bank, whose audits read what was there so long ago. CockroachDB's: elsewhere they are refused.
    #[must_use]
    pub fn as_of(&self, ago: Duration) -> Self {
        Self { runner: self.runner.reading_as_of(ago), ..self.clone() }
    }

    /// Which server it is on.
    #[must_use]
    pub fn server(&self) -> Server {
        self.runner.server()
    }

    /// What this bank's transactions came to so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.runner.counts()
    }
}
