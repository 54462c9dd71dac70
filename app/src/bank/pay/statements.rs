//! The statements of a chunk. On PostgreSQL and CockroachDB each takes arrays, on SQLite one JSON text: so each is one
//! text, prepared once, whatever the chunk's size. SQLite joins in the order that CROSS JOIN says, and
//! CockroachDB as LOOKUP JOIN says: both seek each element, also where they believe that the table is small.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use database::Server;
use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use sea_orm_retry::Tx;
use uuid::Uuid;

use crate::bank::Movement;
use crate::bank::bulk::{Column, Table};
use crate::bank::record::{Record, Transfer};

/// The transfers that are recorded under these ids.
pub(super) async fn recorded(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<Uuid, Movement>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT t.id, source_id, target_id, amount FROM json_each(?) AS given \
             CROSS JOIN transfers AS t ON t.id = unhex(given.value)"
        }
        Server::Postgres => {
            "SELECT id, source_id, target_id, amount FROM transfers WHERE id = ANY($1::uuid[])"
        }
        Server::Cockroach => {
            "SELECT t.id, source_id, target_id, amount FROM unnest($1::uuid[]) AS given (id) \
             INNER LOOKUP JOIN transfers AS t ON t.id = given.id"
        }
    };
    let rows = tx.query_all_raw(statement(tx, sql, [uuids(tx, ids)])).await?;
    let movement = |row: &QueryResult| {
        let id = row.try_get_by_index(0)?;
        let (source_id, target_id) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        Ok((id, Movement { id, source_id, target_id, amount: row.try_get_by_index(3)? }))
    };
    rows.iter().map(movement).collect()
}

/// Locks accounts in the order of their numbers, which is that of `ids`, and answers with the balances of those there are.
/// SQLite's writers take turns from BEGIN on.
pub(super) async fn lock(tx: &Tx, ids: &[i64]) -> Result<HashMap<i64, i64>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT a.id, balance FROM json_each(?) AS given CROSS JOIN accounts AS a ON a.id = given.value"
        }
        Server::Postgres | Server::Cockroach => {
            "SELECT id, balance FROM accounts WHERE id = ANY($1::int8[]) ORDER BY id FOR UPDATE"
        }
    };
    let rows = tx.query_all_raw(statement(tx, sql, [big_ints(tx, ids.iter().copied())])).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Records transfers; answers with how many. `plainly`: an id that is taken is an error.
pub(super) async fn record(tx: &Tx, journal: &[Movement], plainly: bool) -> Result<u64, DbErr> {
    let table = Transfer::TABLE.first(4);
    let table = if plainly { Table { key: None, ..table } } else { table };
    let values = |it: &Movement| -> [Value; 4] {
        [it.id.into(), it.source_id.into(), it.target_id.into(), it.amount.into()]
    };
    table.insert(tx, journal.iter().map(values)).await
}

/// Writes balances; answers with how many.
pub(super) async fn write_balances(tx: &Tx, balances: &BTreeMap<i64, i64>) -> Result<u64, DbErr> {
    let statement = match tx.server() {
        Server::Sqlite => {
            let pairs = json(balances.iter().map(|(id, balance)| format!("[{id},{balance}]")));
            let sql = "UPDATE accounts SET balance = new.value ->> 1 FROM json_each(?) AS new \
                       WHERE accounts.id = new.value ->> 0";
            statement(tx, sql, [pairs])
        }
        server => {
            // Without the second condition PostgreSQL may merge the new balances with a walk through the whole index;
            // CockroachDB seeks each account, and with it scans and joins.
            let seek = if server == Server::Postgres { " AND accounts.id = ANY($1::int8[])" } else { "" };
            let sql = format!(
                "UPDATE accounts SET balance = new.balance \
                 FROM unnest($1::int8[], $2::int8[]) AS new (id, balance) WHERE accounts.id = new.id{seek}"
            );
            let (ids, balances) = (balances.keys().copied(), balances.values().copied());
            statement(tx, sql, [big_ints(tx, ids), big_ints(tx, balances)])
        }
    };
    tx.execute_raw(statement).await.map(|done| done.rows_affected())
}

/// Rows of `batches` beside those of chunks.
const MARKS: Table =
    Table { name: "batches", columns: &[Column::uuid("id"), Column::big_int("rows")], key: None };

/// Writes marks: see [`Mark`](super::marks::Mark).
pub(super) async fn write_marks(tx: &Tx, marks: &[(Uuid, i64)]) -> Result<u64, DbErr> {
    let values = |(id, rows): &(Uuid, i64)| -> [Value; 2] { [(*id).into(), (*rows).into()] };
    MARKS.insert(tx, marks.iter().map(values)).await
}

/// The marks under these ids.
pub(super) async fn marks(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            r#"SELECT b.id, "rows" FROM json_each(?) AS given CROSS JOIN batches AS b ON b.id = unhex(given.value)"#
        }
        Server::Postgres => r#"SELECT id, "rows" FROM batches WHERE id = ANY($1::uuid[])"#,
        Server::Cockroach => {
            r#"SELECT b.id, "rows" FROM unnest($1::uuid[]) AS given (id) INNER LOOKUP JOIN batches AS b ON b.id = given.id"#
        }
    };
    let rows = tx.query_all_raw(statement(tx, sql, [uuids(tx, ids)])).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

fn statement<const N: usize>(tx: &Tx, sql: impl Into<String>, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(tx.get_database_backend(), sql.into(), values)
}

fn uuids(tx: &Tx, ids: &[Uuid]) -> Value {
    match tx.server() {
        Server::Sqlite => json(ids.iter().map(|id| format!("\"{}\"", id.simple()))),
        Server::Postgres | Server::Cockroach => {
            Value::Array(ArrayType::Uuid, Some(Box::new(ids.iter().map(|id| (*id).into()).collect())))
        }
    }
}

fn big_ints(tx: &Tx, numbers: impl Iterator<Item = i64>) -> Value {
    match tx.server() {
        Server::Sqlite => json(numbers),
        Server::Postgres | Server::Cockroach => {
            Value::Array(ArrayType::BigInt, Some(Box::new(numbers.map(Into::into).collect())))
        }
    }
}

/// An array as JSON.
fn json(elements: impl Iterator<Item = impl Display>) -> Value {
    let mut text = String::from("[");
    for (n, element) in elements.enumerate() {
        let separator = if n == 0 { "" } else { "," };
        text += &format!("{separator}{element}");
    }
    text.push(']');
    text.into()
}
