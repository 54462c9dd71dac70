//! The tables of the current schema.

use sea_orm_migration::prelude::{Expr, ExprTrait, LikeExpr, Query, Table};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};

/// Its one row is the lock on CockroachDB, which has no advisory locks. Never dropped: others wait
/// for it.
pub(crate) const LOCK_TABLE: &str = "seaql_migrations_lock";

pub(crate) async fn list(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let list = if connection.get_database_backend() == DbBackend::Sqlite {
        Query::select()
            .column("name")
            .from("sqlite_master")
            .and_where(Expr::col("type").eq("table"))
            .and_where(Expr::col("name").not_like(LikeExpr::new("sqlite~_%").escape('~')))
            .take()
    } else {
        Query::select()
            .column("table_name")
            .from(("information_schema", "tables"))
            .and_where(Expr::col("table_schema").eq(Expr::cust("current_schema()")))
            .and_where(Expr::col("table_type").eq("BASE TABLE"))
            .and_where(Expr::col("table_name").ne(LOCK_TABLE))
            .take()
    };
    connection.query_all(&list).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Drops all tables. SeaORM's own `fresh` also drops types, which CockroachDB refuses.
pub(crate) async fn drop(connection: &impl ConnectionTrait, dropped: &mut Vec<String>) -> Result<(), DbErr> {
    if connection.get_database_backend() == DbBackend::Sqlite {
        // In a transaction foreign keys can only be deferred.
        connection.execute_unprepared("PRAGMA defer_foreign_keys = ON").await?;
    }
    for name in list(connection).await? {
        connection.execute(&Table::drop().table(name.clone()).if_exists().cascade().take()).await?;
        dropped.push(name);
    }
    Ok(())
}
