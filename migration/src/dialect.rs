//! Differences between the servers' SQL.

use database::Server;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};

/// A CHECK on an integer column. SQLite turns an overflowing sum into a REAL, which passes a plain
/// comparison.
pub(crate) fn at_least(server: Server, column: &'static str, minimum: i64) -> Expr {
    let in_range = Expr::col(column).gte(minimum);
    if server == Server::Sqlite {
        return in_range.and(Expr::cust(format!("typeof(\"{column}\") = 'integer'")));
    }
    in_range
}

/// Asks the server: a [`SchemaManager`] cannot tell PostgreSQL from CockroachDB.
pub(crate) async fn server(manager: &SchemaManager<'_>) -> Result<Server, DbErr> {
    if manager.get_database_backend() == DbBackend::Sqlite {
        return Ok(Server::Sqlite);
    }
    let question = Statement::from_string(DbBackend::Postgres, "SELECT version()");
    let version: String = match manager.get_connection().query_one_raw(question).await? {
        Some(row) => row.try_get_by_index(0)?,
        None => String::new(),
    };
    Ok(if version.contains("CockroachDB") { Server::Cockroach } else { Server::Postgres })
}
