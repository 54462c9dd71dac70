//! The chunk of transfers that the matrix pays by `Bank::pay`.
//!
//! The first transfer moves the only 1 from the first of three accounts to the second, the next
//! moves it to the third, and the last is refused because the second account is empty again.

use seabank::bank::pay::Outcome;
use seabank::bank::transfer::{Order, Refusal, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank, Error, Runner};
use uuid::Uuid;

use super::cell::Failure;

/// Chunks with different numbers share neither accounts nor ids.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) number: i64,
}

impl Chunk {
    /// The id of account 0, 1 or 2.
    fn account(self, nth: i64) -> i64 {
        3 * self.number + nth
    }

    fn id(self, nth: i64) -> Uuid {
        Uuid::from_u128(u128::from(self.account(nth).unsigned_abs()))
    }

    fn orders(self) -> [Order; 3] {
        [(0, 0, 1), (1, 1, 2), (2, 1, 2)].map(|(nth, source, target)| {
            let (source, target) = (AccountId(self.account(source)), AccountId(self.account(target)));
            let amount = Some(Amount::new(1).expect("positive"));
            let request = TransferRequest { source: Some(source), target: Some(target), amount };
            Order::new(self.id(nth), source, target, request)
        })
    }

    /// All transfers have their own outcomes, or all have the same failure.
    pub(super) async fn pay(self, runner: &Runner) -> Result<(), Failure> {
        let outcomes = Bank::on(runner.clone()).pay(&self.orders()).await;
        if let [Ok(_), Ok(_), Err(Error::Body(Refusal::InsufficientFunds { .. }))] = &outcomes[..] {
            return Ok(());
        }
        let failure = |outcome: &Outcome| outcome.as_ref().err().map(Failure::of);
        let failures: Vec<Option<Failure>> = outcomes.iter().map(failure).collect();
        match &failures[..] {
            [Some(one), rest @ ..] if rest.len() == 2 && rest.iter().all(|it| it.as_ref() == Some(one)) => {
                Err(one.clone())
            }
            _ => panic!("the orders of one chunk disagree: {outcomes:?}"),
        }
    }

    pub(super) fn prepare(self) -> String {
        let [first, second, third] = [0, 1, 2].map(|nth| self.account(nth));
        format!(
            "INSERT INTO accounts (id, balance, opening_balance) \
             VALUES ({first}, 1, 1), ({second}, 0, 0), ({third}, 0, 0)"
        )
    }

    /// Locks what the second statement needs.
    pub(super) fn lock(self) -> String {
        format!("UPDATE accounts SET balance = balance WHERE id = {}", self.account(0))
    }

    /// How often the first transfer has debited its source.
    pub(super) fn taken(self) -> String {
        format!("SELECT CAST(1 - balance AS BIGINT) FROM accounts WHERE id = {}", self.account(0))
    }

    /// How often the second transfer has credited its target.
    pub(super) fn given(self) -> String {
        format!("SELECT balance FROM accounts WHERE id = {}", self.account(2))
    }

    /// 1 if exactly the first two transfers are recorded, 0 if none is, otherwise -1.
    pub(super) fn recorded(self) -> String {
        let [first, second, third] = [0, 1, 2].map(|nth| self.id(nth));
        format!(
            "SELECT CAST(CASE WHEN count(*) = 0 THEN 0 \
               WHEN count(*) = 2 AND max(CASE WHEN id = '{third}' THEN 1 ELSE 0 END) = 0 THEN 1 \
               ELSE -1 END AS BIGINT) \
             FROM transfers WHERE id IN ('{first}', '{second}', '{third}')"
        )
    }
}
