//! An account's history: its latest transfers, each with the balance after it.

use ::entity::accounts::{self, Column, Entity as Accounts};
use ::entity::transfers;
use sea_orm::sea_query::{Expr, Order, Query, SelectStatement, UnionType};
use sea_orm::{
    DbErr, EntityTrait, FromQueryResult, ModelTrait, PaginatorTrait, QuerySelect, QueryTrait, Select,
};
use sea_orm_retry::Tx;

use super::audit::whole;
use super::row::{self, TransferRow};
use super::{AccountId, Bank, ReadError, moment};
use crate::relation::{Incoming, Outgoing, Payees, Payers};

/// An account and its latest transfers.
#[derive(Clone, Debug)]
pub struct History {
    /// The account.
    pub account: accounts::Model,
    /// Its latest transfers, newest first: by time, then by id.
    pub entries: Vec<Entry>,
    /// The number of accounts that it has paid.
    pub payees: u64,
    /// The number of accounts that have paid it.
    pub payers: u64,
}

/// A transfer from or to an account.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The transfer.
    pub transfer: transfers::Model,
    /// The account's balance after it and all before it, in minor units. Transfers of one time, such
    /// as those of one chunk, are in the order of their ids, so a balance between them may never have
    /// been, and may exceed 64 bits.
    pub balance: i128,
}

impl Bank {
    /// An account with its latest transfers, through [`crate::relation`]; `None` if it does not
    /// exist.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_history(&self, id: AccountId, limit: u64) -> Result<Option<History>, ReadError> {
        self.runner
            .read("history", async |tx| {
                let found = row::accounts(tx, Accounts::find_by_id(id.0)).await?;
                let Some(account) = found.into_iter().next() else { return Ok(None) };
                let entries = entries(tx, &account, limit).await?;
                let distinct = |others: Select<Accounts>| others.select_only().column(Column::Id).distinct();
                let payees = distinct(account.find_linked(Payees)).count(tx).await?;
                let payers = distinct(account.find_linked(Payers)).count(tx).await?;
                Ok(Some(History { account, entries, payees, payers }))
            })
            .await
    }
}

#[derive(FromQueryResult)]
struct EntryRow {
    #[sea_orm(nested)]
    transfer: TransferRow,
    sum_high: i64,
    sum_low: i64,
}

/// The sums are over all transfers of the account; the limit comes after them. They are in two
/// halves, as the audit's.
async fn entries(tx: &Tx, account: &accounts::Model, limit: u64) -> Result<Vec<Entry>, DbErr> {
    let mut changes = changes(tx, account.find_linked(Outgoing), "-");
    changes.union(UnionType::All, self::changes(tx, account.find_linked(Incoming), "+"));
    let running_sum = |half: &str| {
        let oldest_first = "ORDER BY sort_time, stored_time, id ROWS UNBOUNDED PRECEDING";
        Expr::cust(format!("CAST(sum({half}) OVER ({oldest_first}) AS BIGINT)"))
    };
    let newest_first = Query::select()
        .columns(["id", "source_id", "target_id", "amount", "created_at"])
        .expr_as(running_sum("high"), "sum_high")
        .expr_as(running_sum("low"), "sum_low")
        .from_subquery(changes, "changes")
        .order_by("sort_time", Order::Desc)
        .order_by("stored_time", Order::Desc)
        .order_by("id", Order::Desc)
        .limit(limit)
        .take();
    let statement = tx.get_database_backend().build(&newest_first);
    let rows = EntryRow::find_by_statement(statement).all(tx).await?;
    let entry = |row: EntryRow| {
        let balance = i128::from(account.opening_balance) + whole(row.sum_high, row.sum_low);
        Ok(Entry { transfer: row.transfer.transfer()?, balance })
    };
    rows.into_iter().map(entry).collect()
}

/// Transfers in one direction, and what each adds to the account's balance.
fn changes(tx: &Tx, transfers: Select<transfers::Entity>, sign: &str) -> SelectStatement {
    use transfers::Column::CreatedAt;
    row::transfer_columns(transfers, tx)
        .expr_as(moment::by_time(CreatedAt, tx.get_database_backend()), "sort_time")
        .expr_as(Expr::col((transfers::Entity, CreatedAt)), "stored_time")
        .expr_as(Expr::cust(format!("{sign}(transfers.amount >> 32)")), "high")
        .expr_as(Expr::cust(format!("{sign}(transfers.amount & 4294967295)")), "low")
        .into_query()
}
