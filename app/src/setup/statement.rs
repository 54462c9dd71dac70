//! Set-up statements, retried while others change the same catalog.

use std::time::Duration;

use database::{Database, answered, sqlstate};
use sea_orm::{ConnectionTrait, DbErr};

use crate::bank::query::fetch_optional;

/// Creates an object. Returns whether it is new.
pub(super) async fn create_unless_exists(database: &Database, sql: &str) -> Result<bool, DbErr> {
    match execute_patiently(database, sql).await {
        Ok(()) => Ok(true),
        // Created concurrently: duplicate_database, duplicate_object, or a unique violation in the
        // catalog.
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P04" | "42710" | "23505")) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) const ATTEMPTS_MAX: u32 = 50;
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Runs a statement, and retries it on a conflict with another session.
pub(super) async fn execute_patiently(database: &Database, sql: &str) -> Result<(), DbErr> {
    for _ in 1..ATTEMPTS_MAX {
        match answered(database.connection.execute_unprepared(sql)).await {
            Err(error) if is_rivalry(&error) => tokio::time::sleep(PAUSE).await,
            done => return done.map(drop),
        }
    }
    answered(database.connection.execute_unprepared(sql)).await.map(drop)
}

/// Serialization failure, deadlock, a template in use, `tuple concurrently updated`.
pub(super) fn is_rivalry(error: &DbErr) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01" | "55006" | "XX000" | "CR000"))
}

pub(super) async fn exists(admin: &Database, catalog: &str, name: &str) -> Result<bool, DbErr> {
    let sql = format!("SELECT 1 FROM pg_catalog.{catalog} = $1");
    let row = answered(fetch_optional(&admin.connection, sql, [name.into()])).await?;
    Ok(row.is_some())
}
