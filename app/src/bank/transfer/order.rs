//! Orders, the requests they are made of, and receipts.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{Field, Refusal};
use crate::bank::{AccountId, Amount, Movement};

/// How much to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// An amount.
    Exactly(Amount),
    /// Half of the source's balance when the transfer is applied, rounded down.
    Half,
}

/// What a caller asks for. Fields left out are drawn, and agree with any recorded transfer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransferRequest {
    /// The source account.
    pub source: Option<AccountId>,
    /// The target account.
    pub target: Option<AccountId>,
    /// The amount; half of the source's balance if left out.
    pub amount: Option<Amount>,
}

/// A transfer without random choices, ready to be retried.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The transfer's id, its idempotency key.
    pub id: Uuid,
    /// The source account.
    pub source: AccountId,
    /// The target account.
    pub target: AccountId,
    /// How much.
    pub share: Share,
    request: TransferRequest,
}

/// A transfer in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Uuid,
    /// The source account.
    pub source: AccountId,
    /// The target account.
    pub target: AccountId,
    /// The amount.
    pub amount: Amount,
    /// Who applied it.
    pub by: By,
}

/// Who applied a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This run.
    ThisRun,
    /// An earlier run.
    EarlierRun,
}

impl TransferRequest {
    /// Whether nothing is left to draw.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.source.is_some() && self.target.is_some()
    }
}

impl Order {
    /// An order. A recorded transfer with its id has to agree with `request`.
    #[must_use]
    pub fn new(id: Uuid, source: AccountId, target: AccountId, request: TransferRequest) -> Self {
        Self { id, source, target, share: request.amount.map_or(Share::Half, Share::Exactly), request }
    }

    /// The receipt of the recorded transfer with this id, if it agrees with every field of the
    /// request.
    pub(in crate::bank) fn receipt_for(&self, recorded: &Movement, by: By) -> Result<Receipt, Refusal> {
        let given = [
            (Field::Source, self.request.source.map(|id| id.0), recorded.source_id),
            (Field::Target, self.request.target.map(|id| id.0), recorded.target_id),
            (Field::Amount, self.request.amount.map(Amount::units), recorded.amount),
        ];
        let differing =
            given.into_iter().find(|(_, given, recorded)| given.is_some_and(|given| given != *recorded));
        if let Some((field, _, recorded)) = differing {
            return Err(Refusal::IdConflict { id: self.id, field, recorded });
        }
        Ok(Receipt {
            id: self.id,
            source: AccountId(recorded.source_id),
            target: AccountId(recorded.target_id),
            amount: Amount::new(recorded.amount).map_err(|error| DbErr::Type(error.to_string()))?,
            by,
        })
    }
}
