//! Accounts: counting them, finding random ones at any table size, and adding new ones.

use std::ops::RangeInclusive;

use ::entity::accounts::{self, Column, Entity as Accounts};
use ::entity::transfers;
use rand::{Rng, RngExt};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use transaction::Tx;

use super::bulk::{self, Table};
use super::{AccountId, Bank, Holding, ReadError, moment, row};
use crate::relation::{Incoming, Outgoing, Payees, Payers};

/// A new account: its number and its opening balance in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its number.
    pub id: AccountId,
    /// Its opening balance, at least 0.
    pub balance: i64,
}

/// What happened to an account.
#[derive(Clone, Debug)]
pub struct History {
    /// The account as it is now.
    pub account: accounts::Model,
    /// Transfers that took from it, newest first.
    pub outgoing: Vec<transfers::Model>,
    /// Transfers that gave to it, newest first.
    pub incoming: Vec<transfers::Model>,
    /// How many accounts it has given to.
    pub payees: u64,
    /// How many accounts have given to it.
    pub payers: u64,
}

impl Bank {
    /// How many accounts there are.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_count(&self) -> Result<u64, ReadError> {
        self.runner.query("count accounts", async |tx| Accounts::find().count(tx).await).await
    }

    /// The smallest and the largest account number, by one index seek each; `None` in an empty bank.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_range(&self) -> Result<Option<RangeInclusive<i64>>, ReadError> {
        self.runner
            .query("range of accounts", async |tx| {
                let smallest = ids_from(tx, i64::MIN, 1).await?.first().copied();
                // Bounded, though by nothing: a planner that sees no bound calls it a scan.
                let bounded = Accounts::find().filter(Column::Id.lte(i64::MAX)).order_by_desc(Column::Id);
                let largest = bounded.select_only().column(Column::Id).into_tuple::<i64>().one(tx).await?;
                Ok(smallest.zip(largest).map(|(smallest, largest)| smallest..=largest))
            })
            .await
    }

    /// The first accounts from a number on, in the order of their numbers.
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

    /// An account with its latest transfers, through the relations of [`crate::relation`]; `None` where there is none.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn account_history(&self, id: AccountId, limit: u64) -> Result<Option<History>, ReadError> {
        self.runner
            .read("history", async |tx| {
                let found = row::accounts(tx, Accounts::find_by_id(id.0)).await?;
                let Some(account) = found.into_iter().next() else { return Ok(None) };
                let newest = |transfers: Select<transfers::Entity>| {
                    let by_time = moment::by_time(transfers::Column::CreatedAt, tx.get_database_backend());
                    let newest = transfers.order_by_desc(by_time);
                    newest.order_by_desc(transfers::Column::CreatedAt).limit(limit)
                };
                let outgoing = row::transfers(tx, newest(account.find_linked(Outgoing))).await?;
                let incoming = row::transfers(tx, newest(account.find_linked(Incoming))).await?;
                let distinct = |others: Select<Accounts>| others.select_only().column(Column::Id).distinct();
                let payees = distinct(account.find_linked(Payees)).count(tx).await?;
                let payers = distinct(account.find_linked(Payers)).count(tx).await?;
                Ok(Some(History { account, outgoing, incoming, payees, payers }))
            })
            .await
    }

    /// Two different accounts drawn from those with numbers in `range`, by one index seek each; `None` where there are
    /// not two. An account after a wide gap in the numbers is drawn more often, but, where both are drawn, not more
    /// often to take from than to give to: no account is drained by the way it is drawn.
    pub(crate) async fn draw_two(
        &self,
        rng: &mut impl Rng,
        range: &RangeInclusive<i64>,
        source: Option<AccountId>,
        target: Option<AccountId>,
    ) -> Result<Option<(AccountId, AccountId)>, ReadError> {
        let (first, second) = (rng.random_range(range.clone()), rng.random_range(range.clone()));
        let swap = rng.random::<bool>() && source.is_none() && target.is_none();
        self.runner
            .query("draw accounts", async |tx| {
                let source = match source {
                    Some(source) => Some(source),
                    None => draw(tx, first, target).await?,
                };
                let target = match (source, target) {
                    (Some(_), Some(target)) => Some(target),
                    (source, None) => draw(tx, second, source).await?,
                    (None, _) => None,
                };
                Ok(source.zip(target).map(|(a, b)| if swap { (b, a) } else { (a, b) }))
            })
            .await
    }
}

/// The first account at or after a number that is not `other`, else the first of all that is not.
async fn draw(tx: &Tx, from: i64, other: Option<AccountId>) -> Result<Option<AccountId>, DbErr> {
    for from in [from, i64::MIN] {
        let seek = ids_from(tx, from, 2).await?;
        if let Some(found) = seek.into_iter().map(AccountId).find(|id| Some(*id) != other) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Accounts from a number on, in their order: with a limit, one index seek.
fn at_or_after(id: i64) -> Select<Accounts> {
    Accounts::find().filter(Column::Id.gte(id)).order_by_asc(Column::Id)
}

/// The numbers of the first so many accounts from one on: one index seek.
async fn ids_from(tx: &Tx, id: i64, limit: u64) -> Result<Vec<i64>, DbErr> {
    at_or_after(id).select_only().column(Column::Id).limit(limit).into_tuple().all(tx).await
}

/// Accounts in bulk; the time, where rows have none, is the database's to give.
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

/// Adds the accounts whose numbers are free and says how many those were.
pub(crate) async fn insert_new(tx: &Tx, rows: &[NewAccount]) -> Result<u64, DbErr> {
    let values = |row: &NewAccount| [row.id.0.into(), row.balance.into(), row.balance.into()];
    TABLE.first(3).insert(tx, rows.iter().map(values)).await
}
