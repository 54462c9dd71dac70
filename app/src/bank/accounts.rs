//! Accounts: counting, listing, seeking and inserting.

use std::ops::RangeInclusive;

use ::entity::accounts::{Column, Entity as Accounts};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use sea_orm_retry::Tx;

use super::bulk::{self, Table};
use super::{AccountId, Bank, Holding, ReadError};

/// A new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its number.
    pub id: AccountId,
    /// Its opening balance in minor units, at least 0.
    pub balance: i64,
}

impl Bank {
    /// The number of accounts.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_count(&self) -> Result<u64, ReadError> {
        self.runner.query("count accounts", async |tx| Accounts::find().count(tx).await).await
    }

    /// The smallest and the largest account number, by an index seek each; `None` in an empty bank.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_range(&self) -> Result<Option<RangeInclusive<i64>>, ReadError> {
        self.runner
            .query("range of accounts", async |tx| {
                let smallest = ids_from(tx, i64::MIN, 1).await?.first().copied();
                // The bound excludes nothing, but without one the planner reports a scan.
                let bounded = Accounts::find().filter(Column::Id.lte(i64::MAX)).order_by_desc(Column::Id);
                let largest = bounded.select_only().column(Column::Id).into_tuple::<i64>().one(tx).await?;
                Ok(smallest.zip(largest).map(|(smallest, largest)| smallest..=largest))
            })
            .await
    }

    /// The first accounts from a number on, in order.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_list(&self, from: AccountId, limit: u64) -> Result<Vec<Holding>, ReadError> {
        self.runner
            .query("list accounts", async |tx| {
                at_or_after(from.0).limit(limit).into_partial_model().all(tx).await
            })
            .await
    }

    /// The accounts with the largest balances, largest first; of equal balances the smaller number
    /// first. The database reads all accounts and keeps `limit` of them.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_top(&self, limit: u64) -> Result<Vec<Holding>, ReadError> {
        self.runner
            .query("largest accounts", async |tx| {
                let ranked = Accounts::find().order_by_desc(Column::Balance).order_by_asc(Column::Id);
                ranked.limit(limit).into_partial_model().all(tx).await
            })
            .await
    }
}

/// Accounts from a number on, in order: with a limit, one index seek.
fn at_or_after(id: i64) -> Select<Accounts> {
    Accounts::find().filter(Column::Id.gte(id)).order_by_asc(Column::Id)
}

async fn ids_from(tx: &Tx, id: i64, limit: u64) -> Result<Vec<i64>, DbErr> {
    at_or_after(id).select_only().column(Column::Id).limit(limit).into_tuple().all(tx).await
}

/// Accounts for bulk inserts. Without a time the database sets it.
pub(crate) const TABLE: Table = Table {
    name: "accounts",
    columns: &[
        bulk::Column::big_int("id"),
        bulk::Column::big_int("balance"),
        bulk::Column::big_int("opening_balance"),
        bulk::Column::timestamp("created_at"),
    ],
    key: Some("id"),
};

/// Inserts the accounts whose numbers are free. Returns how many.
pub(crate) async fn insert_new(tx: &Tx, rows: &[NewAccount]) -> Result<u64, DbErr> {
    let values = |row: &NewAccount| [row.id.0.into(), row.balance.into(), row.balance.into()];
    TABLE.first(3).insert(tx, rows.iter().map(values)).await
}
