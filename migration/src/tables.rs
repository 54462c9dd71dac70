//! The tables of the current schema, listed and dropped whoever created them.

use sea_orm_migration::prelude::{Expr, ExprTrait, LikeExpr, Query, Table};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};

/// The table whose one row is the migration lock on CockroachDB, which has no advisory locks. It is
/// never dropped: other migrators wait for it.
pub(crate) const LOCK_TABLE: &str = "seaql_migrations_lock";

/// All tables of the current schema, without [`LOCK_TABLE`].
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

/// Drops what [`list`] returns, and adds each name to `dropped`. SeaORM's own `fresh` also drops
/// types, which CockroachDB refuses.
pub(crate) async fn drop(connection: &impl ConnectionTrait, dropped: &mut Vec<String>) -> Result<(), DbErr> {
    if connection.get_database_backend() == DbBackend::Sqlite {
        // Inside a transaction foreign keys cannot be switched off, only checked at COMMIT.
        connection.execute_unprepared("PRAGMA defer_foreign_keys = ON").await?;
    }
    for name in list(connection).await? {
        connection.execute(&Table::drop().table(name.clone()).if_exists().cascade().take()).await?;
        dropped.push(name);
    }
    Ok(())
}
