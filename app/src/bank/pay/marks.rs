//! What became of the orders of a chunk that it did not apply: a row in `batches` for each, so that whoever finds the chunk
//! there tells the same of it, although balances have moved since.

use uuid::Uuid;

use super::Decision;
use crate::bank::Amount;
use crate::bank::transfer::{By, Order, Refusal, Share};

/// Why an order was not applied. Its number is below 0, for a chunk has rows, and one that is in halves has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Mark {
    AlreadyApplied = -1,
    IdConflict = -2,
    SameAccount = -3,
    UnknownSource = -4,
    UnknownTarget = -5,
    InsufficientFunds = -6,
    NothingToMove = -7,
    BalanceOverflow = -8,
}

const ALL: [Mark; 8] = [
    Mark::AlreadyApplied,
    Mark::IdConflict,
    Mark::SameAccount,
    Mark::UnknownSource,
    Mark::UnknownTarget,
    Mark::InsufficientFunds,
    Mark::NothingToMove,
    Mark::BalanceOverflow,
];

impl Mark {
    /// The id of the mark of an order, by its place in its chunk.
    pub(super) fn id(chunk: Uuid, place: usize) -> Uuid {
        Uuid::new_v5(&chunk, &(place as u64).to_be_bytes())
    }

    /// The mark of a decision; none where it applies the order.
    pub(super) fn of(order: &Order, decision: &Decision) -> Option<Self> {
        Some(match decision {
            Ok(receipt) if receipt.by == By::ThisRun => return None,
            Ok(_) => Self::AlreadyApplied,
            Err(Refusal::IdConflict { .. }) => Self::IdConflict,
            Err(Refusal::SameAccount(_)) => Self::SameAccount,
            Err(Refusal::UnknownAccount(account)) if *account == order.source => Self::UnknownSource,
            Err(Refusal::UnknownAccount(_)) => Self::UnknownTarget,
            Err(Refusal::NothingToMove(_)) => Self::NothingToMove,
            Err(Refusal::BalanceOverflow { .. }) => Self::BalanceOverflow,
            Err(_) => Self::InsufficientFunds,
        })
    }

    /// The mark that is recorded as a number.
    pub(super) fn recorded(number: i64) -> Option<Self> {
        ALL.into_iter().find(|mark| *mark as i64 == number)
    }

    /// The refusal that it stands for, where it is one that the order says the rest of.
    pub(super) fn refusal(self, order: &Order) -> Option<Refusal> {
        // How much half was is not known any more: more than the account could take.
        let amount = match order.share {
            Share::Exactly(amount) => amount,
            Share::Half => Amount::MAX,
        };
        Some(match self {
            Self::AlreadyApplied | Self::IdConflict => return None,
            Self::SameAccount => Refusal::SameAccount(order.source),
            Self::UnknownSource => Refusal::UnknownAccount(order.source),
            Self::UnknownTarget => Refusal::UnknownAccount(order.target),
            Self::InsufficientFunds => Refusal::InsufficientFunds { account: order.source, amount },
            Self::NothingToMove => Refusal::NothingToMove(order.source),
            Self::BalanceOverflow => Refusal::BalanceOverflow { account: order.target, amount },
        })
    }
}
