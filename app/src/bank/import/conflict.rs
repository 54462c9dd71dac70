//! How the rows of a file stand to those that are there already.

use std::collections::{HashMap, HashSet};

use ::entity::prelude::{Accounts, Transfers};
use ::entity::{accounts, transfers};
use database::Server;
use sea_orm::sea_query::{ArrayType, Expr, ExprTrait, SimpleExpr, extension::postgres::PgFunc};
use sea_orm::{DbErr, EntityTrait, Iden, QueryFilter, QuerySelect, Value};
use transaction::Tx;

use crate::bank::bulk::SQLITE_PARAMETERS_MAX;
use crate::bank::record::{Account, Record, Transfer};

/// How a row stands.
pub(crate) enum Standing {
    /// It is not there.
    New,
    /// It is there, as the file has it.
    Present,
    /// It cannot be added: why.
    Refused(String),
}

/// A row that can be compared with what is there.
pub(crate) trait Compared: Record {
    /// Whether it can be added without looking: then errors say which rows could not.
    const BY_COPY: bool;

    /// How each row stands.
    async fn standings(tx: &Tx, rows: &[Self]) -> Result<Vec<Standing>, DbErr>;
}

impl Compared for Account {
    const BY_COPY: bool = true;

    async fn standings(tx: &Tx, rows: &[Self]) -> Result<Vec<Standing>, DbErr> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mut there = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Accounts::find()
                .select_only()
                .columns([accounts::Column::Id, accounts::Column::OpeningBalance])
                .filter(one_of(tx, accounts::Column::Id, ArrayType::BigInt, ids));
            there.extend(query.into_tuple::<(i64, i64)>().all(tx).await?);
        }
        Ok(rows
            .iter()
            .map(|row| match there.get(&row.id) {
                None => Standing::New,
                Some(opening) if *opening == row.opening_balance => Standing::Present,
                Some(opening) => Standing::Refused(format!(
                    "account {} is there already, with an opening balance of {opening} and not {}",
                    row.id, row.opening_balance
                )),
            })
            .collect())
    }
}

impl Compared for Transfer {
    /// A foreign key that is violated says so of no row.
    const BY_COPY: bool = false;

    async fn standings(tx: &Tx, rows: &[Self]) -> Result<Vec<Standing>, DbErr> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut there = HashMap::new();
        for ids in ids.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Transfers::find().filter(one_of(tx, transfers::Column::Id, ArrayType::Uuid, ids));
            there.extend(query.all(tx).await?.into_iter().map(|model| (model.id, model)));
        }
        let parties: HashSet<i64> = rows.iter().flat_map(|row| [row.source_id, row.target_id]).collect();
        let parties: Vec<_> = parties.into_iter().collect();
        let mut known = HashSet::new();
        for ids in parties.chunks(SQLITE_PARAMETERS_MAX) {
            let query = Accounts::find().select_only().column(accounts::Column::Id).filter(one_of(
                tx,
                accounts::Column::Id,
                ArrayType::BigInt,
                ids,
            ));
            known.extend(query.into_tuple::<i64>().all(tx).await?);
        }
        let standing = |row: &Self| match there.get(&row.id) {
            Some(model) if (model.source_id, model.target_id, model.amount) == row.what() => {
                Standing::Present
            }
            Some(model) => Standing::Refused(format!(
                "transfer {} is there already, of {} from account {} to account {}",
                row.id, model.amount, model.source_id, model.target_id
            )),
            None => [row.source_id, row.target_id]
                .into_iter()
                .find(|id| !known.contains(id))
                .map_or(Standing::New, |id| {
                    Standing::Refused(format!("there is no account {id}: import the accounts first"))
                }),
        };
        Ok(rows.iter().map(standing).collect())
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
