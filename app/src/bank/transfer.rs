//! Transfers: three styles of moving money, with the same outcomes, in the checking order of
//! [`Refusal`]'s variants. Random choices are made before, in [`Bank::order`].

mod builder;
mod draw;
mod many;
mod not_written;
mod order;
mod orm;
mod refusal;
mod shape;
mod single;
mod style;

use ::entity::transfers;
use database::Server;
use sea_orm::{DbErr, EntityTrait};
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::panic::caught;
use super::{Amount, Bank, Error, Movement, ReadError};

pub use draw::DrawError;
pub(in crate::bank) use draw::numbered;
pub use many::{Ended, Many, Unsuccessful};
pub use order::{By, Order, Receipt, Share, TransferRequest};
pub use refusal::{Field, Refusal, TransferError};
pub use style::Style;

impl Bank {
    /// Moves the money, at most once for an id. Logs each applied transfer at level INFO.
    ///
    /// # Errors
    ///
    /// A [`TransferError`]. Unless [`Error::may_be_applied`], this run has not applied the transfer
    /// and never will.
    pub async fn transfer(&self, order: Order, style: Style) -> Result<Receipt, TransferError> {
        match caught(self.run(&order, style)).await {
            Ok(outcome) => outcome,
            Err(panicked) => Err(Error::Panicked(panicked)),
        }
    }

    async fn run(&self, order: &Order, style: Style) -> Result<Receipt, TransferError> {
        let outcome = match style {
            Style::Builder => {
                self.runner
                    .run_idempotent("transfer", async |tx: &Tx| builder::transfer(tx, order).await)
                    .await
            }
            Style::Orm => {
                self.runner.run_idempotent("transfer", async |tx: &Tx| orm::transfer(tx, order).await).await
            }
            Style::Single if style.works_on(self.runner.server()) => {
                self.runner.statement("transfer", async |tx: &Tx| single::transfer(tx, order).await).await
            }
            Style::Single => Err(Error::Body(Refusal::StyleUnsupported)),
        };
        match outcome {
            Ok(receipt) => {
                log_applied(&receipt);
                Ok(receipt)
            }
            Err(Error::Database { error, body }) => {
                let refusal = self.refusal_behind(order, &error).await;
                Err(refusal.map_or(Error::Database { error, body }, Error::Body))
            }
            outcome => outcome,
        }
    }

    /// The recorded transfer with an id.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn transfer_by_id(&self, id: Uuid) -> Result<Option<Movement>, ReadError> {
        self.runner.query("look up transfer", async |tx| recorded(tx, id).await).await
    }
}

pub(in crate::bank) fn log_applied(receipt: &Receipt) {
    tracing::info!(id = %receipt.id, amount = %receipt.amount, "applied");
}

async fn recorded(tx: &Tx, id: Uuid) -> Result<Option<Movement>, DbErr> {
    transfers::Entity::find_by_id(id).into_partial_model().one(tx).await
}

/// The receipt of the recorded transfer, if it agrees with every field that the caller gave.
fn answer(tx: &Tx, order: &Order, recorded: &Movement) -> Result<Receipt, Refusal> {
    let by = if tx.earlier_unknown() { By::ThisRun } else { By::EarlierRun };
    let answer = order.receipt_for(recorded, by);
    match answer {
        // The id is another transfer's, so no attempt of this run is or can be applied.
        Err(_) => tx.proved_not_applied(),
        Ok(_) => tx.proved_applied(),
    }
    answer
}

/// Whether to write the transfer's row by a plain INSERT. Before an INSERT with ON CONFLICT
/// CockroachDB reads the journal: a fifth of the statement's time on one node, a round trip between
/// several.
fn writes_plainly(tx: &Tx) -> bool {
    tx.server() == Server::Cockroach && !tx.key_taken() && !tx.earlier_unknown()
}

fn receipt(order: &Order, amount: Amount) -> Receipt {
    Receipt { id: order.id, source: order.source, target: order.target, amount, by: By::ThisRun }
}
