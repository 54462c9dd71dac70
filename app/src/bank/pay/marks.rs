//! The refusals of a chunk, each a row in `batches`, so that a repeated run reports the same.

use uuid::Uuid;

use super::Decision;
use crate::bank::Amount;
use crate::bank::transfer::{By, Order, Refusal, Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    AlreadyApplied,
    IdConflict,
    SameAccount,
    UnknownSource,
    UnknownTarget,
    InsufficientFunds,
    NothingToMove,
    BalanceOverflow,
    /// Half of the source's balance, this amount, would overflow the target's balance.
    HalfOverflows(Amount),
}

/// Stored as -1, -2, and so on. A chunk's row has a positive number, a split chunk's 0.
const NUMBERED: [Mark; 8] = [
    Mark::AlreadyApplied,
    Mark::IdConflict,
    Mark::SameAccount,
    Mark::UnknownSource,
    Mark::UnknownTarget,
    Mark::InsufficientFunds,
    Mark::NothingToMove,
    Mark::BalanceOverflow,
];

/// Amounts of [`Mark::HalfOverflows`] are stored below this.
const HALVES_BELOW: i64 = -(NUMBERED.len() as i64);

impl Mark {
    /// The id of an order's mark, by the order's place in its chunk.
    pub(super) fn id(chunk: Uuid, place: usize) -> Uuid {
        Uuid::new_v5(&chunk, &(place as u64).to_be_bytes())
    }

    /// The mark of a decision; `None` if it applies the order.
    pub(super) fn of(order: &Order, decision: &Decision) -> Option<Self> {
        Some(match decision {
            Ok(receipt) if receipt.by == By::ThisRun => return None,
            Ok(_) => Self::AlreadyApplied,
            Err(Refusal::IdConflict { .. }) => Self::IdConflict,
            Err(Refusal::SameAccount(_)) => Self::SameAccount,
            Err(Refusal::UnknownAccount(account)) if *account == order.source => Self::UnknownSource,
            Err(Refusal::UnknownAccount(_)) => Self::UnknownTarget,
            Err(Refusal::NothingToMove(_)) => Self::NothingToMove,
            Err(Refusal::BalanceOverflow { amount, .. }) if order.share == Share::Half => {
                Self::HalfOverflows(*amount)
            }
            Err(Refusal::BalanceOverflow { .. }) => Self::BalanceOverflow,
            Err(_) => Self::InsufficientFunds,
        })
    }

    /// The stored number, below 0.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::HalfOverflows(amount) => HALVES_BELOW - amount.units(),
            mark => -1 - NUMBERED.iter().position(|it| *it == mark).map_or(0, |place| place as i64),
        }
    }

    pub(super) fn recorded(number: i64) -> Option<Self> {
        match usize::try_from(-1 - number) {
            Ok(place) if place < NUMBERED.len() => Some(NUMBERED[place]),
            Ok(_) => Amount::new(HALVES_BELOW - number).ok().map(Self::HalfOverflows),
            Err(_) => None,
        }
    }

    /// The refusal, if the mark and the order determine it.
    pub(super) fn refusal(self, order: &Order) -> Option<Refusal> {
        let asked = match order.share {
            Share::Exactly(amount) => Some(amount),
            Share::Half => None,
        };
        let overflow = |amount| Refusal::BalanceOverflow { account: order.target, amount };
        Some(match self {
            Self::AlreadyApplied | Self::IdConflict => return None,
            Self::SameAccount => Refusal::SameAccount(order.source),
            Self::UnknownSource => Refusal::UnknownAccount(order.source),
            Self::UnknownTarget => Refusal::UnknownAccount(order.target),
            Self::InsufficientFunds => Refusal::InsufficientFunds { account: order.source, amount: asked? },
            Self::NothingToMove => Refusal::NothingToMove(order.source),
            Self::BalanceOverflow => overflow(asked?),
            Self::HalfOverflows(amount) => overflow(amount),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_recorded() {
        let half = |units| Mark::HalfOverflows(Amount::new(units).expect("positive"));
        for mark in NUMBERED.into_iter().chain([half(1), half(i64::MAX / 2)]) {
            assert!(mark.number() < 0);
            assert_eq!(Mark::recorded(mark.number()), Some(mark));
        }
        assert_eq!([0, 1, 1000].map(Mark::recorded), [None; 3]);
    }
}
