//! What is recorded in a database, read without writing: no migration table is made, no right but SELECT is needed.

use std::collections::BTreeSet;

use database::{Database, Server, sqlstate};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, EntityTrait};
use sea_orm_migration::{IntoSchemaManagerConnection, MigratorTrait, SchemaManager, seaql_migrations};

use crate::{Error, Migrator};

/// How many migrations there are.
#[must_use]
pub fn total() -> usize {
    Migrator::migrations().len()
}

/// Every migration in order, with none applied: the [`status`] of a database that is not there.
#[must_use]
pub fn unapplied() -> Vec<(String, bool)> {
    Migrator::migrations().iter().map(|each| (each.name().to_owned(), false)).collect()
}

/// The names of the migrations that the database lacks, in the order in which they would be applied.
///
/// # Errors
///
/// [`Error::Ahead`] where the database is newer than this program, and what the database refused.
pub async fn pending(database: &Database) -> Result<Vec<String>, Error> {
    let all = status(database).await?;
    Ok(all.into_iter().filter(|(_, applied)| !applied).map(|(name, _)| name).collect())
}

/// Every migration in order, and whether it is applied.
///
/// # Errors
///
/// As [`pending`].
pub async fn status(database: &Database) -> Result<Vec<(String, bool)>, Error> {
    status_of::<Migrator>(database).await
}

pub(crate) async fn status_of<M: MigratorTrait>(database: &Database) -> Result<Vec<(String, bool)>, Error> {
    let recorded = match recorded(database).await {
        Ok(recorded) => recorded,
        Err(error) => return Err(Error::of(database, error).await),
    };
    let names: Vec<String> = M::migrations().iter().map(|each| each.name().to_owned()).collect();
    let unknown: Vec<String> = recorded.iter().filter(|name| !names.contains(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Error::Ahead { names: unknown });
    }
    Ok(names.into_iter().map(|name| (name.clone(), recorded.contains(&name))).collect())
}

async fn recorded(database: &Database) -> Result<BTreeSet<String>, DbErr> {
    let connection = &database.connection;
    // SQLite has no code for a missing table; the others do, and asking them for it first would be a second
    // question whose answer may be out of date by then.
    if database.server == Server::Sqlite && !has_migration_table(connection).await? {
        return Ok(BTreeSet::new());
    }
    match names(connection).await {
        Err(error) if sqlstate(&error).as_deref() == Some("42P01") => Ok(BTreeSet::new()),
        answer => answer,
    }
}

async fn has_migration_table<'c>(connection: impl IntoSchemaManagerConnection<'c>) -> Result<bool, DbErr> {
    SchemaManager::new(connection).has_table("seaql_migrations").await
}

/// The recorded names, where the migration table is known to exist.
pub(crate) async fn names<C: ConnectionTrait>(connection: &C) -> Result<BTreeSet<String>, DbErr> {
    let rows = seaql_migrations::Entity::find().all(connection).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}
