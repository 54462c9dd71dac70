//! Decides the outcomes of a chunk: a pure function of the orders, the recorded ids and the
//! balances.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::bank::transfer::{By, Order, Receipt, Refusal, Share};
use crate::bank::{Amount, Movement};

/// The outcome of one order.
pub type Decision = Result<Receipt, Refusal>;

/// The outcomes of a chunk, and what to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// A decision for each order, in order.
    pub decisions: Vec<Decision>,
    /// The transfers to record, in order.
    pub journal: Vec<Movement>,
    /// The new balances, by account number.
    pub balances: BTreeMap<i64, i64>,
}

impl Decided {
    pub(super) fn applies_all(&self) -> bool {
        self.journal.len() == self.decisions.len()
    }
}

/// Decides orders one by one, in order, as [`Bank::transfer`](crate::bank::Bank::transfer) would at
/// that point, in its checking order.
///
/// `recorded`: the recorded transfers with the orders' ids. `balances`: the balances of the orders'
/// accounts that exist.
#[must_use]
pub fn decide(orders: &[Order], recorded: &HashMap<Uuid, Movement>, balances: &HashMap<i64, i64>) -> Decided {
    let mut decided = Decided { decisions: Vec::with_capacity(orders.len()), ..Decided::default() };
    let mut new: HashMap<Uuid, Movement> = HashMap::with_capacity(orders.len());
    for order in orders {
        if let Some(known) = recorded.get(&order.id).or_else(|| new.get(&order.id)) {
            decided.decisions.push(order.receipt_for(known, By::EarlierRun));
            continue;
        }
        let balance = |id: i64| decided.balances.get(&id).or_else(|| balances.get(&id)).copied();
        let decision = change(order, balance).map(|Change { amount, source, target }| {
            let (source_id, target_id) = (order.source.0, order.target.0);
            let movement = Movement { id: order.id, source_id, target_id, amount: amount.units() };
            decided.balances.extend([(source_id, source), (target_id, target)]);
            decided.journal.push(movement);
            new.insert(order.id, movement);
            Receipt { id: order.id, source: order.source, target: order.target, amount, by: By::ThisRun }
        });
        decided.decisions.push(decision);
    }
    decided
}

struct Change {
    amount: Amount,
    source: i64,
    target: i64,
}

/// The effect of an order whose id is free. `balance`: the balance of an account, if it exists.
fn change(order: &Order, balance: impl Fn(i64) -> Option<i64>) -> Result<Change, Refusal> {
    if order.source == order.target {
        return Err(Refusal::SameAccount(order.source));
    }
    let source = balance(order.source.0).ok_or(Refusal::UnknownAccount(order.source))?;
    let target = balance(order.target.0).ok_or(Refusal::UnknownAccount(order.target))?;
    let amount = match order.share {
        Share::Exactly(amount) => amount,
        Share::Half => Amount::new(source / 2).map_err(|_| Refusal::NothingToMove(order.source))?,
    };
    if source < amount.units() {
        return Err(Refusal::InsufficientFunds { account: order.source, amount });
    }
    let overflow = Refusal::BalanceOverflow { account: order.target, amount };
    let target = target.checked_add(amount.units()).ok_or(overflow)?;
    Ok(Change { amount, source: source - amount.units(), target })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::bank::AccountId;
    use crate::bank::transfer::TransferRequest;

    const OPENING: [(i64, i64); 4] = [(1, 100), (2, 40), (3, 1), (4, i64::MAX - 30)];

    fn order() -> impl Strategy<Value = Order> {
        let account = || prop_oneof![9 => 1..=4_i64, 1 => Just(9)];
        let amount =
            prop_oneof![2 => Just(None), 5 => (1..=60_i64).prop_map(Some), 1 => Just(Some(i64::MAX))];
        (0..8_u128, account(), account(), amount, any::<bool>()).prop_map(
            |(id, source, target, amount, given)| {
                let (source, target) = (AccountId(source), AccountId(target));
                let request = TransferRequest {
                    source: given.then_some(source),
                    target: given.then_some(target),
                    amount: amount.map(|units| Amount::new(units).expect("positive")),
                };
                Order::new(Uuid::from_u128(id), source, target, request)
            },
        )
    }

    proptest! {
        /// The outcomes and the books do not depend on how orders are split into chunks.
        #[test]
        fn a_chunk_comes_to_what_its_orders_come_to_one_by_one(
            orders in vec(order(), 0..40),
            sizes in vec(1..9_usize, 40),
        ) {
            let play = |sizes: &mut dyn Iterator<Item = usize>| {
                let (mut recorded, mut balances) = (HashMap::new(), HashMap::from(OPENING));
                let (mut decisions, mut rest) = (Vec::new(), &orders[..]);
                while !rest.is_empty() {
                    let (chunk, others) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                    let decided = decide(chunk, &recorded, &balances);
                    recorded.extend(decided.journal.iter().map(|movement| (movement.id, *movement)));
                    balances.extend(decided.balances);
                    decisions.extend(decided.decisions);
                    rest = others;
                }
                (decisions, recorded, balances)
            };
            let one_by_one = play(&mut std::iter::repeat(1));
            prop_assert_eq!(&play(&mut sizes.into_iter()), &one_by_one);
            prop_assert_eq!(&play(&mut std::iter::once(orders.len().max(1))), &one_by_one);
            let total = |balances: &HashMap<i64, i64>| balances.values().map(|it| i128::from(*it)).sum::<i128>();
            prop_assert_eq!(total(&one_by_one.2), total(&HashMap::from(OPENING)));
            prop_assert!(one_by_one.2.values().all(|balance| *balance >= 0));
        }
    }
}
