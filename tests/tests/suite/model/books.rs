//! The model: the outcomes of docs/guarantees.md, in their order, on a map of balances.

use std::collections::BTreeMap;

use seabank::bank::transfer::{By, Field, Refusal};
use seabank::bank::{AccountId, Amount};
use uuid::Uuid;

use super::{Case, OPENING, Outcome, Record, Requested};

pub(super) struct Books {
    /// 128 bits hold additions in any order.
    pub(super) balances: BTreeMap<i64, i128>,
    pub(super) recorded: BTreeMap<u128, Record>,
}

impl Books {
    /// `done`: a bit for each completed transfer.
    pub(super) fn after(case: &Case, outcomes: &[Outcome], done: usize) -> Self {
        let balances = OPENING.into_iter().map(|(id, balance)| (id, balance.into())).collect();
        let mut books = Self { balances, recorded: BTreeMap::new() };
        for (number, (asked, outcome)) in case.asked.iter().zip(outcomes).enumerate() {
            if let Ok(((source, target, amount), _)) = *outcome
                && done & (1 << number) != 0
                && books.recorded.insert(asked.id, (source, target, amount)).is_none()
            {
                *books.balances.entry(source).or_default() -= i128::from(amount);
                *books.balances.entry(target).or_default() += i128::from(amount);
            }
        }
        books
    }

    pub(super) fn outcome(&self, asked: &Requested) -> Outcome {
        let id = Uuid::from_u128(asked.id);
        let (source, target) = (AccountId(asked.source), AccountId(asked.target));
        if let Some(&recorded) = self.recorded.get(&asked.id) {
            let given = [
                (Field::Source, asked.source_given.then_some(asked.source), recorded.0),
                (Field::Target, asked.target_given.then_some(asked.target), recorded.1),
                (Field::Amount, asked.amount, recorded.2),
            ];
            return match given
                .into_iter()
                .find(|(_, given, recorded)| given.is_some_and(|it| it != *recorded))
            {
                Some((field, _, recorded)) => Err(Refusal::IdConflict { id, field, recorded }),
                None => Ok((recorded, By::EarlierRun)),
            };
        }
        if source == target {
            return Err(Refusal::SameAccount(source));
        }
        let balance_of = |id: AccountId| self.balances.get(&id.0).copied().ok_or(Refusal::UnknownAccount(id));
        let (balance, room) = (balance_of(source)?, i128::from(i64::MAX) - balance_of(target)?);
        let half = i64::try_from(balance / 2).expect("a balance fits 64 bits");
        let units = asked.amount.unwrap_or(half);
        let amount = Amount::new(units).map_err(|_| Refusal::NothingToMove(source))?;
        if balance < units.into() {
            return Err(Refusal::InsufficientFunds { account: source, amount });
        }
        if room < units.into() {
            return Err(Refusal::BalanceOverflow { account: target, amount });
        }
        Ok(((source.0, target.0, units), By::ThisRun))
    }
}
