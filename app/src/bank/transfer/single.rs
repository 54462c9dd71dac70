//! Style `single`: the whole transfer in one autocommitted statement, in one round trip, with no BEGIN and no COMMIT.
//!
//! It writes the transfer's own id first, where the source has enough, and changes both balances where that row was written. So
//! it keeps the contract of [`transaction::Runner::statement`]: told again, it changes nothing. Where it has changed
//! nothing a look at the id says why. Anything but two balances, or none, is an error of the statement itself, which
//! undoes it: there is nobody left to roll it back.

use ::entity::accounts;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Statement, Value};
use transaction::{Earlier, Tx};

use super::{Order, Receipt, Refusal, Share, answer, receipt, recorded, writes_plainly};
use crate::bank::{Amount, Holding};

pub(super) async fn transfer(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    // The row of a transfer from an account to itself cannot be written at all.
    if order.source != order.target {
        let answered = tx.query_one_raw(statement(tx, order)).await?;
        let answered =
            answered.ok_or_else(|| DbErr::RecordNotFound("an aggregate without a row".to_owned()))?;
        if let Some(amount) = answered.try_get::<Option<i64>>("", "amount")? {
            tx.settle(Earlier::Dead);
            return Ok(receipt(order, Amount::new(amount).map_err(|error| DbErr::Type(error.to_string()))?));
        }
    }
    not_written(tx, order).await
}

/// The accounts' numbers stand as parameters, for taking them from the transfer's row would scan the table on CockroachDB.
fn statement(tx: &Tx, order: &Order) -> Statement {
    let mut values: Vec<Value> = vec![order.id.into(), order.source.0.into(), order.target.0.into()];
    // `>> 1`, because `/ 2` is a decimal division on CockroachDB.
    let (amount, at_least) = match order.share {
        Share::Exactly(amount) => {
            values.push(amount.units().into());
            ("$4", "$4")
        }
        Share::Half => ("balance >> 1", "2"),
    };
    let unless_taken = if writes_plainly(tx) { "" } else { "ON CONFLICT (id) DO NOTHING" };
    let sql = format!(
        "WITH journal AS ( \
           INSERT INTO transfers (id, source_id, target_id, amount) \
           SELECT $1, $2, $3, {amount} FROM accounts WHERE id = $2 AND balance >= {at_least} \
           {unless_taken} RETURNING amount \
         ), changed AS ( \
           UPDATE accounts SET balance = balance + \
             CASE id WHEN $2 THEN -(SELECT amount FROM journal) ELSE (SELECT amount FROM journal) END \
           WHERE id IN ($2, $3) AND EXISTS (SELECT 1 FROM journal) RETURNING id \
         ) \
         SELECT (SELECT amount FROM journal) AS amount, CAST(CASE WHEN count(*) IN (0, 2) \
           THEN CAST(count(*) AS TEXT) ELSE 'not two balances' END AS INT8) AS balances FROM changed"
    );
    Statement::from_sql_and_values(tx.get_database_backend(), sql, values)
}

/// No row was written: the id is taken, or the source has not enough, or is not there.
async fn not_written(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    if let Some(recorded) = recorded(tx, order.id).await? {
        return answer(tx, order, &recorded);
    }
    tx.settle(Earlier::Dead);
    if order.source == order.target {
        return Err(Refusal::SameAccount(order.source));
    }
    for account in [order.source, order.target] {
        let found = accounts::Entity::find_by_id(account.0).into_partial_model::<Holding>();
        if found.one(tx).await?.is_none() {
            return Err(Refusal::UnknownAccount(account));
        }
    }
    Err(match order.share {
        Share::Exactly(amount) => Refusal::InsufficientFunds { account: order.source, amount },
        Share::Half => Refusal::NothingToMove(order.source),
    })
}
