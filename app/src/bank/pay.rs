//! Payments: many transfers in one transaction, in order, each with its own outcome.
//!
//! A chunk writes its own row, locks its accounts, decides its orders in memory, and writes the
//! journal and the balances by arrays. Chunks of one process that would conflict queue up first.

mod chunk;
mod decide;
mod file;
mod header;
mod marks;
mod statements;

use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use sea_orm::DbErr;
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::gate::Turn;
use super::load::{Chunk, Load, LoadError, Loaded, Part, apply};
use super::panic::caught;
use super::transfer::{Order, Receipt, Refusal, TransferError, log_applied};
use super::{Bank, Error};
use header::Columns;

pub use decide::{Decided, Decision, decide};
pub use file::Paid;

/// The outcome of one order.
pub type Outcome = Result<Receipt, TransferError>;

impl Bank {
    /// Applies orders in one transaction, in order, each at most once for its id. A refused order
    /// does not affect the others. Orders that are too many for one transaction are split in
    /// halves.
    ///
    /// Returns an outcome for each order, as [`Bank::transfer`] does.
    pub async fn pay(&self, orders: &[Order]) -> Vec<Outcome> {
        if orders.is_empty() {
            return Vec::new();
        }
        let payments = (0..).zip(orders).map(|(line, order)| Payment { line, order: *order }).collect();
        let collected: Mutex<Vec<Outcome>> = Mutex::new(Vec::with_capacity(orders.len()));
        let paying = Paying::new(self, None, |_: &[Payment], decisions: Vec<Decision>, _| {
            let outcomes = decisions.into_iter().map(|decision| decision.map_err(Error::Body));
            collected.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes);
            Ok(())
        });
        let chunk = Chunk { name: "orders".to_owned(), rows: payments };
        // A run for this call alone: the orders are identified by their own ids.
        let ended = caught(apply(&self.runner, &paying, Uuid::new_v4(), chunk)).await;
        drop(paying);
        let mut outcomes = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => outcomes.resize(orders.len(), Err(of_each(&error))),
            Err(panicked) => outcomes.resize(orders.len(), Err(Error::Panicked(panicked))),
        }
        outcomes
    }
}

/// A chunk's error as the error of each of its orders.
fn of_each(error: &Error<LoadError>) -> TransferError {
    let refusal = |error: &LoadError| match error {
        LoadError::Database(error) => Refusal::Database(error.clone()),
        other => Refusal::Database(DbErr::Custom(other.to_string())),
    };
    match error {
        Error::Body(error) => Error::Body(refusal(error)),
        Error::Database { error, body } => {
            Error::Database { error: error.clone(), body: body.as_ref().map(refusal) }
        }
        Error::RetriesExhausted(ended) => Error::RetriesExhausted(ended.clone()),
        Error::Unknown(ended) => Error::Unknown(ended.clone()),
        Error::Panicked(panicked) => Error::Panicked(panicked.clone()),
        Error::Refused(ended) => Error::Refused(ended.clone()),
    }
}

/// An order and its line in the file, from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payment {
    line: u64,
    order: Order,
}

struct Paying<'a, F> {
    bank: &'a Bank,
    /// To apply no chunk with a refusal: the columns of the file, for the report.
    stop: Option<Columns>,
    /// Whether ids of the previous chunk were recorded already, and so those of the next may be.
    some_recorded: AtomicBool,
    /// Called for each applied part with its payments, their decisions, and whether an earlier call
    /// had applied it.
    report: Mutex<F>,
}

impl<'a, F> Paying<'a, F>
where
    F: FnMut(&[Payment], Vec<Decision>, bool) -> Result<(), LoadError>,
{
    fn new(bank: &'a Bank, stop: Option<Columns>, report: F) -> Self {
        Self { bank, stop, some_recorded: AtomicBool::new(false), report: Mutex::new(report) }
    }

    fn checked(&self, rows: &[Payment], decisions: Vec<Decision>) -> Result<Decisions, LoadError> {
        let refused =
            rows.iter().zip(&decisions).find_map(|(payment, it)| Some((payment, it.as_ref().err()?)));
        match (&self.stop, refused) {
            (Some(columns), Some((payment, refusal))) => {
                Err(LoadError::Rejected(vec![columns.rejected(payment, refusal)]))
            }
            _ => Ok(Decisions(decisions)),
        }
    }
}

#[derive(Debug, Default)]
struct Decisions(Vec<Decision>);

impl AddAssign for Decisions {
    fn add_assign(&mut self, part: Self) {
        self.0.extend(part.0);
    }
}

fn orders(rows: &[Payment]) -> Vec<Order> {
    rows.iter().map(|payment| payment.order).collect()
}

impl<F> Load for Paying<'_, F>
where
    F: FnMut(&[Payment], Vec<Decision>, bool) -> Result<(), LoadError>,
{
    type Row = Payment;
    type Done = Decisions;
    const KIND: &'static str = "pay";

    async fn turn(&self, rows: &[Payment]) -> Option<Turn> {
        let accounts = chunk::accounts(&orders(rows));
        Some(self.bank.gate.turn(self.bank.server(), accounts).await)
    }

    async fn add(&self, tx: &Tx, part: &Part<'_>, rows: &[Payment]) -> Result<Decisions, LoadError> {
        let decisions = chunk::apply(tx, part.id, &orders(rows), &self.some_recorded).await?;
        self.checked(rows, decisions)
    }

    async fn look_up(&self, tx: &Tx, part: &Part<'_>, rows: &[Payment]) -> Result<Decisions, LoadError> {
        self.checked(rows, chunk::look_up(tx, part.id, &orders(rows)).await?)
    }

    fn committed(&self, rows: &[Payment], part: &mut Loaded<Decisions>) -> Result<(), LoadError> {
        let Decisions(decisions) = std::mem::take(&mut part.done);
        for receipt in decisions.iter().flatten() {
            log_applied(receipt);
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report(rows, decisions, part.found > 0)
    }
}
