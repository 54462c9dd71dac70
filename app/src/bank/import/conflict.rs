//! How the rows of a file stand to those that are there already.

use std::collections::{HashMap, HashSet};

use ::entity::prelude::{Accounts, Transfers};
use ::entity::{accounts, transfers};
use database::Server;
use sea_orm::sea_query::{ArrayType, Expr, ExprTrait, SimpleExpr, extension::postgres::PgFunc};
use sea_orm::{DbErr, EntityTrait, Iden, QueryFilter, QuerySelect, Value};
use transaction::Tx;

use crate::bank::Movement;
use crate::bank::bulk::SQLITE_PARAMETERS_MAX;
use crate::bank::record::{Account, Record, Transfer};

/// For each row, why it cannot be added, where it cannot.
pub(crate) type Reasons = Vec<Option<String>>;

/// A row that can be compared with what is there.
pub(crate) trait Compared: Record {
    /// Whether every row can be sent as it is: nothing that it refers to may be missing.
    const STANDS_ALONE: bool;

    /// Rows that refer to what is not there, looked for before they are sent: a foreign key that is violated says so of no
    /// row.
    async fn dangling(tx: &Tx, rows: &[Self]) -> Result<Reasons, DbErr>;

    /// Rows whose key is another's, looked for where not all were added. Not before: under SERIALIZABLE, whoever reads that
    /// a key is free conflicts with everybody who adds one near it.
    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr>;
}

impl Compared for Account {
    const STANDS_ALONE: bool = true;

    async fn dangling(_: &Tx, rows: &[Self]) -> Result<Reasons, DbErr> {
        Ok(vec![None; rows.len()])
    }

    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mut there = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Accounts::find()
                .select_only()
                .columns([accounts::Column::Id, accounts::Column::OpeningBalance])
                .filter(one_of(tx, accounts::Column::Id, ArrayType::BigInt, ids));
            there.extend(query.into_tuple::<(i64, i64)>().all(tx).await?);
        }
        let reason = |row: &&Self| {
            let opening = there.get(&row.id).filter(|opening| **opening != row.opening_balance)?;
            Some(format!(
                "account {} is there already, with an opening balance of {opening} and not {}",
                row.id, row.opening_balance
            ))
        };
        Ok(rows.iter().map(reason).collect())
    }
}

impl Compared for Transfer {
    const STANDS_ALONE: bool = false;

    async fn dangling(tx: &Tx, rows: &[Self]) -> Result<Reasons, DbErr> {
        let parties: HashSet<i64> = rows.iter().flat_map(|row| [row.source_id, row.target_id]).collect();
        let parties: Vec<_> = parties.into_iter().collect();
        let mut known = HashSet::with_capacity(parties.len());
        for ids in parties.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Accounts::find().select_only().column(accounts::Column::Id).filter(one_of(
                tx,
                accounts::Column::Id,
                ArrayType::BigInt,
                ids,
            ));
            known.extend(query.into_tuple::<i64>().all(tx).await?);
        }
        let reason = |row: &Self| {
            let id = [row.source_id, row.target_id].into_iter().find(|id| !known.contains(id))?;
            Some(format!("there is no account {id}: import the accounts first"))
        };
        Ok(rows.iter().map(reason).collect())
    }

    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut there = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Transfers::find().filter(one_of(tx, transfers::Column::Id, ArrayType::Uuid, ids));
            let found: Vec<Movement> = query.into_partial_model().all(tx).await?;
            there.extend(found.into_iter().map(|movement| (movement.id, movement)));
        }
        let reason = |row: &&Self| {
            let what = |there: &&Movement| (there.source_id, there.target_id, there.amount);
            let there = there.get(&row.id).filter(|there| what(there) != row.what())?;
            Some(format!(
                "transfer {} is there already, of {} from account {} to account {}",
                row.id, there.amount, there.source_id, there.target_id
            ))
        };
        Ok(rows.iter().map(reason).collect())
    }
}

/// Whether a column has one of these values: with one parameter, where the server has arrays.
fn one_of<V: Into<Value> + Copy>(tx: &Tx, column: impl Iden, kind: ArrayType, values: &[V]) -> SimpleExpr {
    let column = Expr::col(column);
    let values = values.iter().map(|value| (*value).into());
    match tx.server() {
        Server::Sqlite => column.is_in(values.collect::<Vec<Value>>()),
        Server::Postgres | Server::Cockroach => {
            column.eq(PgFunc::any(Value::Array(kind, Some(Box::new(values.collect())))))
        }
    }
}
