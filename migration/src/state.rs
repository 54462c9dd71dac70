//! The applied migrations. Reading them needs no right but SELECT.

use std::collections::BTreeSet;

use database::{Database, Server, answered, sqlstate};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, EntityTrait};
use sea_orm_migration::{MigratorTrait, seaql_migrations};

use crate::location::{self, Location};
use crate::{Error, Migrator, object};

/// The number of migrations.
#[must_use]
pub fn total() -> usize {
    Migrator::migrations().len()
}

/// The [`status`] of a database that does not exist.
#[must_use]
pub fn unapplied() -> Vec<(String, bool)> {
    Migrator::migrations().iter().map(|each| (each.name().to_owned(), false)).collect()
}

/// The names of the pending migrations, in order.
///
/// # Errors
///
/// [`Error::Ahead`] if the database is newer than this program; otherwise the database's error.
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
    match answered(location::find(connection, database.server)).await? {
        // SQLite has no error code for a missing table. A server is asked below: CockroachDB v20.2
        // may hide the table from the catalog.
        Location::Nowhere if database.server == Server::Sqlite => return Ok(BTreeSet::new()),
        Location::Nowhere | Location::Current | Location::Behind { .. } => {}
        Location::Ambiguous { first, second } => return Err(DbErr::Migration(ambiguous(&first, &second))),
    }
    match answered(names(connection)).await {
        Err(error) if sqlstate(&error).as_deref() == Some("42P01") => Ok(BTreeSet::new()),
        answer => answer,
    }
}

fn ambiguous(first: &str, second: &str) -> String {
    format!(
        "the bank's tables are in two schemas of the search path, \"{first}\" and \"{second}\": set this user's search_path to the one that holds the bank, or rename what is in the other"
    )
}

/// Fails if new tables would not go to the bank's schema.
pub(crate) async fn check_search_path(database: &Database) -> Result<(), Error> {
    match answered(location::find(&database.connection, database.server)).await {
        Ok(Location::Behind { bank, current }) => Err(Error::Elsewhere { bank, current }),
        Ok(Location::Nowhere | Location::Current | Location::Ambiguous { .. }) => Ok(()),
        Err(error) => Err(Error::of(database, error).await),
    }
}

/// Checks that applied migrations' objects are the bank's, and that new tables would go to its
/// schema.
///
/// # Errors
///
/// [`Error::Refused`], [`Error::Elsewhere`], or the database's error.
pub async fn verify(database: &Database) -> Result<(), Error> {
    check_search_path(database).await?;
    let applied: Vec<String> =
        status(database).await?.into_iter().filter(|(_, applied)| *applied).map(|(name, _)| name).collect();
    check_names(database, &applied).await
}

/// Fails if another object has a name that these migrations use.
pub(crate) async fn check_names(database: &Database, migrations: &[String]) -> Result<(), Error> {
    let (connection, server) = (&database.connection, database.server);
    for migration in crate::migrations() {
        if migrations.iter().any(|name| name == migration.name())
            && let Err(error) =
                answered(object::check_name(connection, server, &migration.object(server))).await
        {
            return Err(Error::of(database, error).await);
        }
    }
    Ok(())
}

/// The applied migrations, if the table exists.
pub(crate) async fn names<C: ConnectionTrait>(connection: &C) -> Result<BTreeSet<String>, DbErr> {
    let rows = seaql_migrations::Entity::find().all(connection).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}
