//! The bank: accounts, bulk loads, transfers, the audit. Prints nothing.

pub mod accounts;
pub mod audit;
mod batch;
mod bulk;
mod counter;
pub mod csv;
pub mod export;
pub mod file;
mod gate;
pub mod history;
pub mod import;
pub mod load;
mod lookup;
mod moment;
mod money;
mod panic;
mod past;
pub mod pay;
pub mod points;
pub(crate) mod query;
mod record;
mod row;
mod runner;
pub mod seed;
pub mod server_side;
mod statistics;
pub mod transfer;
pub mod workload;

pub use batch::SizeChanged;
pub use counter::Counts;
pub use moment::rfc3339;
pub use money::{AccountId, Amount, AmountError};
pub use panic::Panicked;
pub use row::{Holding, Movement};

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Server};
use sea_orm::DbErr;
use sea_orm_retry::Policy;

use gate::Gate;
pub use runner::{Error, Runner};

/// A bank on one database. Cloning shares the pool and the counts.
#[derive(Clone)]
pub struct Bank {
    runner: Runner,
    /// The queue for chunks of transfers.
    gate: Arc<Gate>,
}

/// Why a read failed. A read changes nothing.
pub type ReadError = Error<DbErr>;

impl Bank {
    /// The bank on `database`. `policy` bounds retries.
    #[must_use]
    pub fn new(database: &Database, policy: Policy) -> Self {
        Self::on(Runner::new(database, policy))
    }

    /// The bank on any runner, such as one that records statements.
    #[must_use]
    pub fn on(runner: Runner) -> Self {
        Self { runner, gate: Arc::default() }
    }

    /// The same bank for one of `workers` workers: see [`Runner::worker_among`].
    #[must_use]
    pub fn worker_among(&self, workers: u32) -> Self {
        Self { runner: self.runner.worker_among(workers), ..self.clone() }
    }

    /// The same bank with audits that read a snapshot of this age, on CockroachDB only.
    #[must_use]
    pub fn as_of(&self, ago: Duration) -> Self {
        Self { runner: self.runner.reading_as_of(ago), ..self.clone() }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> Server {
        self.runner.server()
    }

    /// The counts of all transactions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.runner.counts()
    }
}
