//! What a migration makes, a table or an index, and whether what has its name is that.
//!
//! `CREATE … IF NOT EXISTS` is there for a migration that was applied and then killed before it was recorded. By itself it
//! takes whatever has the name, another program's table too, and `DROP … IF EXISTS` drops it. So both look first.

use std::fmt;

use database::{Server, sqlstate};
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::sea_query::{PostgresQueryBuilder, SqliteQueryBuilder, TableBuilder};

use crate::catalog::{self, Column, Found};
use crate::dialect::server;

/// A table or an index.
pub(crate) enum Object {
    Table(Box<TableCreateStatement>),
    Index { name: &'static str, table: &'static str, column: &'static str },
}

impl Object {
    /// Its name, where it is a table.
    pub(crate) fn table(&self) -> Option<String> {
        match self {
            Self::Table(table) => Some(name_of(table)),
            Self::Index { .. } => None,
        }
    }
}

/// A migration that makes one object, and nothing else.
pub(crate) trait Makes: Sync {
    /// What it makes on a server.
    fn object(&self, server: Server) -> Object;
}

/// Implements a migration by what it [`Makes`].
macro_rules! migrate_by_object {
    ($migration:ty) => {
        #[sea_orm_migration::async_trait::async_trait]
        impl sea_orm_migration::MigrationTrait for $migration {
            fn use_transaction(&self) -> Option<bool> {
                Some(false)
            }

            async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
                $crate::object::create(manager, self).await
            }

            async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
                $crate::object::drop(manager, self).await
            }
        }
    };
}
pub(crate) use migrate_by_object;

/// The migrations that make an object, by name and in order.
pub(crate) fn made_here(server: Server) -> [(String, Object); 6] {
    fn made(migration: &(impl Makes + MigrationName), server: Server) -> (String, Object) {
        (migration.name().to_owned(), migration.object(server))
    }
    [
        made(&crate::m20260101_000001_create_accounts::Migration, server),
        made(&crate::m20260101_000002_create_transfers::Migration, server),
        made(&crate::m20260101_000003_index_transfers_source::Migration, server),
        made(&crate::m20260101_000004_index_transfers_target::Migration, server),
        made(&crate::m20260101_000005_create_points::Migration, server),
        made(&crate::m20260101_000006_create_batches::Migration, server),
    ]
}

/// Creates the object, unless it is there already.
pub(crate) async fn create(manager: &SchemaManager<'_>, migration: &dyn Makes) -> Result<(), DbErr> {
    let server = server(manager).await?;
    let object = migration.object(server);
    refuse_others(manager.get_connection(), server, &object).await?;
    match &object {
        Object::Table(table) => manager.create_table(table.clone().if_not_exists().take()).await?,
        Object::Index { name, table, column } => {
            let index = Index::create().name(*name).table(*table).col(*column).if_not_exists().take();
            manager.create_index(index).await?;
        }
    }
    // CockroachDB v20.x shows nobody a table that they have no right on, and whoever has created one has all. It is read, for
    // the catalog may answer from a cache since v26.1.
    if let (Server::Cockroach, Some(table)) = (server, object.table()) {
        let sql = format!("SELECT 1 FROM \"{table}\" WHERE false");
        match manager.get_connection().execute_unprepared(&sql).await {
            Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
                return Err(DbErr::Migration(belongs_to_others(&object, "this user may not see it")));
            }
            read => read.map(|_| ())?,
        }
    }
    Ok(())
}

/// Drops the object, where it is there.
pub(crate) async fn drop(manager: &SchemaManager<'_>, migration: &dyn Makes) -> Result<(), DbErr> {
    let server = server(manager).await?;
    let object = migration.object(server);
    refuse_others(manager.get_connection(), server, &object).await?;
    match object {
        Object::Table(table) => {
            manager.drop_table(Table::drop().table(name_of(&table)).if_exists().take()).await
        }
        // Several tables may have an index of this name there.
        Object::Index { name, table, .. } if server == Server::Cockroach => {
            let sql = format!("DROP INDEX IF EXISTS \"{table}\"@\"{name}\"");
            manager.get_connection().execute_unprepared(&sql).await.map(|_| ())
        }
        Object::Index { name, table, .. } => {
            manager.drop_index(Index::drop().name(name).table(table).if_exists().to_owned()).await
        }
    }
}

/// Fails where something else has the object's name: nothing is changed then.
///
/// # Errors
///
/// [`DbErr::Migration`] says what is there and what to do; else the database's.
pub(crate) async fn refuse_others(
    connection: &impl ConnectionTrait,
    server: Server,
    object: &Object,
) -> Result<(), DbErr> {
    let difference = match object {
        Object::Table(table) => {
            let found = catalog::find(connection, server, &name_of(table)).await?;
            difference_of_table(found, &columns(table, server))
        }
        Object::Index { name, table, column } => {
            let found = catalog::find_index(connection, server, name, table).await?;
            difference_of_index(found, column)
        }
    };
    difference.map_or(Ok(()), |difference| Err(DbErr::Migration(belongs_to_others(object, &difference))))
}

fn belongs_to_others(object: &Object, difference: &str) -> String {
    format!(
        "\"{object}\" belongs to another program, {difference}: rename it, or give the bank a database of its own"
    )
}

fn difference_of_table(found: Option<Found>, expected: &[Column]) -> Option<String> {
    let columns = match found? {
        Found::Table(columns) => columns,
        Found::Index(_) => return Some("it is an index".to_owned()),
        Found::Other(kind) => return Some(format!("it is {kind}")),
    };
    let of = |columns: &[Column], name: &str| columns.iter().find(|column| column.name == name).cloned();
    for column in expected {
        match of(&columns, &column.name) {
            None => return Some(format!("it has no column {}", column.name)),
            Some(there) if there != *column => return Some(format!("its column is {there}, not {column}")),
            Some(_) => {}
        }
    }
    let more = columns.iter().find(|column| of(expected, &column.name).is_none())?;
    Some(format!("the bank's has no column {}", more.name))
}

fn difference_of_index(found: Option<Found>, column: &str) -> Option<String> {
    match found? {
        Found::Index(columns) if columns == [column] => None,
        Found::Index(columns) => Some(format!("it is on {}, not on {column}", columns.join(", "))),
        Found::Table(_) => Some("it is a table".to_owned()),
        Found::Other(kind) => Some(format!("it is {kind}")),
    }
}

/// The columns of a table, in the words of the server's catalog.
fn columns(table: &TableCreateStatement, server: Server) -> Vec<Column> {
    let column = |column: &ColumnDef| {
        let mut kind = String::new();
        if let Some(of) = column.get_column_type() {
            match server {
                Server::Sqlite => SqliteQueryBuilder.prepare_column_type(of, &mut kind),
                Server::Postgres | Server::Cockroach => {
                    PostgresQueryBuilder.prepare_column_type(of, &mut kind)
                }
            }
        }
        let spec = column.get_column_spec();
        Column {
            name: column.get_column_name(),
            kind,
            not_null: spec.nullable == Some(false),
            key: spec.primary_key,
        }
    };
    table.get_columns().iter().map(column).collect()
}

fn name_of(table: &TableCreateStatement) -> String {
    match table.get_table_name() {
        Some(TableRef::Table(TableName(_, name), _)) => name.to_string(),
        other => unreachable!("a migration names its table: {other:?}"),
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => f.write_str(&name_of(table)),
            Self::Index { name, .. } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use sea_orm_migration::MigratorTrait;

    use super::*;

    #[test]
    fn what_every_migration_makes_is_known() {
        let names: Vec<String> =
            crate::Migrator::migrations().iter().map(|it| it.name().to_owned()).collect();
        assert_eq!(made_here(Server::Postgres).map(|(name, _)| name).as_slice(), names);
    }
}
