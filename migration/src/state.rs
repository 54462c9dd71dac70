//! What is recorded in a database, read without writing: no migration table is made, no right but SELECT is needed.

use std::collections::BTreeSet;

use database::{Database, Server, answered, sqlstate};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, EntityTrait};
use sea_orm_migration::{MigratorTrait, seaql_migrations};

use crate::object::{self, made_here};
use crate::place::{self, Place};
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
    match answered(place::find(connection, database.server)).await? {
        // SQLite has no code for a missing table, and the others know one that this user may not see in the catalog
        // (CockroachDB v20.2).
        Place::Nowhere if database.server == Server::Sqlite => return Ok(BTreeSet::new()),
        Place::Nowhere | Place::Current | Place::Behind { .. } => {}
        Place::Ambiguous { first, second } => return Err(DbErr::Migration(ambiguous(&first, &second))),
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

/// Refuses to change a schema while new tables would go to another one.
///
/// # Errors
///
/// [`Error::Elsewhere`] names both.
pub(crate) async fn refuse_elsewhere(database: &Database) -> Result<(), Error> {
    match answered(place::find(&database.connection, database.server)).await {
        Ok(Place::Behind { bank, current }) => Err(Error::Elsewhere { bank, current }),
        Ok(Place::Nowhere | Place::Current | Place::Ambiguous { .. }) => Ok(()),
        Err(error) => Err(Error::of(database, error).await),
    }
}

/// Fails where something that the database has recorded as made is not what the migration makes, or new tables would go
/// to another schema.
///
/// # Errors
///
/// [`Error::Refused`], [`Error::Elsewhere`], and what the database refused.
pub async fn verify(database: &Database) -> Result<(), Error> {
    refuse_elsewhere(database).await?;
    let applied: Vec<String> =
        status(database).await?.into_iter().filter(|(_, applied)| *applied).map(|(name, _)| name).collect();
    refuse_others(database, &applied).await
}

/// Fails where something else has the name of what these migrations make.
pub(crate) async fn refuse_others(database: &Database, migrations: &[String]) -> Result<(), Error> {
    for (name, object) in made_here(database.server) {
        if migrations.contains(&name)
            && let Err(error) =
                answered(object::refuse_others(&database.connection, database.server, &object)).await
        {
            return Err(Error::of(database, error).await);
        }
    }
    Ok(())
}

/// The recorded names, where the migration table is known to exist.
pub(crate) async fn names<C: ConnectionTrait>(connection: &C) -> Result<BTreeSet<String>, DbErr> {
    let rows = seaql_migrations::Entity::find().all(connection).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}
