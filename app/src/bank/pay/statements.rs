//! The statements of a chunk. Their text does not depend on the chunk's size: see
//! [`lookup`](crate::bank::lookup).

use std::collections::{BTreeMap, HashMap};

use database::Server;
use sea_orm::{ConnectionTrait, DbErr, Value};
use sea_orm_retry::Tx;
use uuid::Uuid;

use crate::bank::Movement;
use crate::bank::bulk::{Column, Table};
use crate::bank::query::{big_ints, fetch_all, json, statement, uuids};
use crate::bank::record::{Record, Transfer};

/// Locks accounts in the order of `ids`, which is sorted, and returns the balances of those that
/// exist. On SQLite BEGIN locks.
pub(super) async fn lock(tx: &Tx, ids: &[i64]) -> Result<HashMap<i64, i64>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT a.id, balance FROM json_each(?) AS given CROSS JOIN accounts AS a ON a.id = given.value"
        }
        Server::Postgres | Server::Cockroach => {
            "SELECT id, balance FROM accounts WHERE id = ANY($1::int8[]) ORDER BY id FOR UPDATE"
        }
    };
    let rows = fetch_all(tx, sql, [big_ints(tx, ids.iter().copied())]).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Records transfers. Returns how many. `plainly`: a recorded id is an error.
pub(super) async fn record(tx: &Tx, journal: &[Movement], plainly: bool) -> Result<u64, DbErr> {
    let table = Transfer::TABLE.first(4);
    let table = if plainly { Table { key: None, ..table } } else { table };
    let values = |it: &Movement| -> [Value; 4] {
        [it.id.into(), it.source_id.into(), it.target_id.into(), it.amount.into()]
    };
    table.insert(tx, journal.iter().map(values)).await
}

/// Writes balances. Returns how many.
pub(super) async fn write_balances(tx: &Tx, balances: &BTreeMap<i64, i64>) -> Result<u64, DbErr> {
    let statement = match tx.server() {
        Server::Sqlite => {
            let pairs = json(balances.iter().map(|(id, balance)| format!("[{id},{balance}]")));
            let sql = "UPDATE accounts SET balance = new.value ->> 1 FROM json_each(?) AS new \
                       WHERE accounts.id = new.value ->> 0";
            statement(tx, sql, [pairs])
        }
        server => {
            // PostgreSQL may otherwise scan the whole index for a merge join. CockroachDB seeks
            // without it.
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

/// Marks are rows of `batches`.
const MARKS: Table =
    Table { name: "batches", columns: &[Column::uuid("id"), Column::big_int("rows")], key: None };

pub(super) async fn write_marks(tx: &Tx, marks: &[(Uuid, i64)]) -> Result<u64, DbErr> {
    let values = |(id, rows): &(Uuid, i64)| -> [Value; 2] { [(*id).into(), (*rows).into()] };
    MARKS.insert(tx, marks.iter().map(values)).await
}

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
    let rows = fetch_all(tx, sql, [uuids(tx, ids)]).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}
