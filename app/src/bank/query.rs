//! Queries by text, and lists of ids as one parameter: an array, or a JSON text on SQLite.

use std::fmt::Display;

use database::Server;
use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use sea_orm_retry::Tx;
use uuid::Uuid;

pub(crate) fn statement<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: [Value; N],
) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql.into(), values)
}

pub(crate) async fn fetch_all<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: [Value; N],
) -> Result<Vec<QueryResult>, DbErr> {
    connection.query_all_raw(statement(connection, sql, values)).await
}

/// The first row, if there is one.
pub(crate) async fn fetch_optional<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: [Value; N],
) -> Result<Option<QueryResult>, DbErr> {
    connection.query_one_raw(statement(connection, sql, values)).await
}

/// The row of a query that always has one.
pub(crate) async fn fetch_one(connection: &impl ConnectionTrait, sql: &str) -> Result<QueryResult, DbErr> {
    let row = fetch_optional(connection, sql, []).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(format!("no row of {sql}")))
}

pub(crate) fn uuids(tx: &Tx, ids: &[Uuid]) -> Value {
    match tx.server() {
        Server::Sqlite => json(ids.iter().map(|id| format!("\"{}\"", id.simple()))),
        Server::Postgres | Server::Cockroach => array(ArrayType::Uuid, ids.iter().copied()),
    }
}

pub(crate) fn big_ints(tx: &Tx, numbers: impl Iterator<Item = i64>) -> Value {
    match tx.server() {
        Server::Sqlite => json(numbers),
        Server::Postgres | Server::Cockroach => array(ArrayType::BigInt, numbers),
    }
}

fn array<V: Into<Value>>(kind: ArrayType, elements: impl Iterator<Item = V>) -> Value {
    Value::Array(kind, Some(Box::new(elements.map(Into::into).collect())))
}

pub(crate) fn json(elements: impl Iterator<Item = impl Display>) -> Value {
    let mut text = String::from("[");
    for (n, element) in elements.enumerate() {
        let separator = if n == 0 { "" } else { "," };
        text += &format!("{separator}{element}");
    }
    text.push(']');
    text.into()
}
