//! Payments: many transfers in one transaction, each with an outcome of its own, in the order in which they are given.
//!
//! A chunk locks its accounts, decides its orders in memory as if they were applied one by one, and writes the journal and the
//! balances by arrays. Its own row in `batches` comes first, so that it is applied once. Chunks of this process that
//! would conflict wait for each other before they begin.

mod chunk;
mod decide;
mod file;
mod gate;
mod header;
mod marks;
mod statements;

use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use sea_orm::DbErr;
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::load::{Chunk, Load, LoadError, Loaded, Part, apply};
use super::panic::caught;
use super::transfer::{Order, Receipt, Refusal, TransferError, told_applied};
use super::{Bank, Error};
use header::Columns;

pub use decide::{Decided, Decision, decide};
pub use file::Paid;
pub(crate) use gate::{Gate, Turn};

/// What one order came to.
pub type Outcome = Result<Receipt, TransferError>;

impl Bank {
    /// Applies orders in one transaction, in their order, each at most once however often this is called with its id: what
    /// arrives by one can leave by the next. One that is refused leaves the others as they are. Where the server says that
    /// they are too many for one transaction, each half is one.
    ///
    /// There is an outcome for each order, in their order: what [`Bank::transfer`] answers.
    pub async fn pay(&self, orders: &[Order]) -> Vec<Outcome> {
        if orders.is_empty() {
            return Vec::new();
        }
        let payments = (0..).zip(orders).map(|(line, order)| Payment { line, order: *order }).collect();
        let told: Mutex<Vec<Outcome>> = Mutex::new(Vec::with_capacity(orders.len()));
        let paying = Paying::new(self, None, |_: &[Payment], decisions: Vec<Decision>, _| {
            let outcomes = decisions.into_iter().map(|decision| decision.map_err(Error::Body));
            told.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes);
            Ok(())
        });
        let chunk = Chunk { name: "orders".to_owned(), rows: payments };
        // A run of this call alone: what is known of an order is known by its id.
        let ended = caught(apply(&self.runner, &paying, Uuid::new_v4(), chunk)).await;
        drop(paying);
        let mut outcomes = told.into_inner().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => outcomes.resize(orders.len(), Err(of_each(&error))),
            Err(panicked) => outcomes.resize(orders.len(), Err(Error::Panicked(panicked))),
        }
        outcomes
    }
}

/// What a chunk ended in, as what each of its orders ended in.
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

/// An order, and where it stood in its file, the first line being 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payment {
    line: u64,
    order: Order,
}

/// The payment of chunks.
struct Paying<'a, F> {
    bank: &'a Bank,
    /// Where a chunk with a refusal is not applied: how its file's rows are written.
    stop: Option<Columns>,
    /// Whether ids of the chunk before were recorded already: those of the next one may be, too.
    some_recorded: AtomicBool,
    /// Told of the payments of each part that is applied, their decisions, and whether an earlier call had applied it.
    told: Mutex<F>,
}

impl<'a, F> Paying<'a, F>
where
    F: FnMut(&[Payment], Vec<Decision>, bool) -> Result<(), LoadError>,
{
    fn new(bank: &'a Bank, stop: Option<Columns>, told: F) -> Self {
        Self { bank, stop, some_recorded: AtomicBool::new(false), told: Mutex::new(told) }
    }

    /// The decisions, unless one of them is a refusal where that is to stop.
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

/// The decisions of a part until they are told.
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

    async fn look(&self, tx: &Tx, part: &Part<'_>, rows: &[Payment]) -> Result<Decisions, LoadError> {
        self.checked(rows, chunk::look(tx, part.id, &orders(rows)).await?)
    }

    fn in_place(&self, rows: &[Payment], part: &mut Loaded<Decisions>) -> Result<(), LoadError> {
        let Decisions(decisions) = std::mem::take(&mut part.done);
        for receipt in decisions.iter().flatten() {
            told_applied(receipt);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told(rows, decisions, part.found > 0)
    }
}
