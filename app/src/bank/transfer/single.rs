//! Style `single`: the whole transfer in one autocommitted statement.
//!
//! It writes the transfer's id, if the source has enough, and changes both balances if that row was
//! written. So it keeps the contract of [`sea_orm_retry::Runner::statement`]: a repetition changes
//! nothing. If it changes one balance, it fails, because nobody could roll it back.

use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use sea_orm_retry::Tx;

use super::not_written::{Proof, not_written};
use super::{Order, Receipt, Refusal, Share, receipt, writes_plainly};
use crate::bank::Amount;

pub(super) async fn transfer(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    // A constraint forbids a transfer from an account to itself.
    if order.source != order.target {
        let answered = tx.query_one_raw(statement(tx, order)).await?;
        let answered =
            answered.ok_or_else(|| DbErr::RecordNotFound("an aggregate without a row".to_owned()))?;
        if let Some(amount) = answered.try_get::<Option<i64>>("", "amount")? {
            tx.proved_not_applied();
            return Ok(receipt(order, Amount::new(amount).map_err(|error| DbErr::Type(error.to_string()))?));
        }
    }
    not_written(tx, order, Proof::Statement).await
}

/// The account numbers are parameters: read from the transfer's row, they would cause a full scan
/// on CockroachDB.
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
