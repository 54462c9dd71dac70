//! The table or index that a migration creates.
//!
//! `IF [NOT] EXISTS` lets a migration run again that was killed before it was recorded. Alone it
//! would adopt or drop another program's table, so `create` and `drop` compare the columns first.

use std::fmt;

use database::{Server, sqlstate};
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::sea_query::{PostgresQueryBuilder, SqliteQueryBuilder, TableBuilder};

use crate::catalog::{self, Column, Existing};
use crate::dialect::server;

/// A table or an index.
pub(crate) enum Object {
    Table(Box<TableCreateStatement>),
    Index { name: &'static str, table: &'static str, column: &'static str },
}

impl Object {
    pub(crate) fn table_name(&self) -> Option<String> {
        match self {
            Self::Table(table) => Some(name_of(table)),
            Self::Index { .. } => None,
        }
    }
}

pub(crate) async fn create(manager: &SchemaManager<'_>, object: fn(Server) -> Object) -> Result<(), DbErr> {
    let server = server(manager).await?;
    let object = object(server);
    check_name(manager.get_connection(), server, &object).await?;
    match &object {
        Object::Table(table) => manager.create_table(table.clone().if_not_exists().take()).await?,
        Object::Index { name, table, column } => {
            let index = Index::create().name(*name).table(*table).col(*column).if_not_exists().take();
            manager.create_index(index).await?;
        }
    }
    // CockroachDB v20.x hides tables without rights from the catalog, and since v26.1 the catalog
    // may be cached, so read the table itself.
    if let (Server::Cockroach, Some(table)) = (server, object.table_name()) {
        let sql = format!("SELECT 1 FROM \"{table}\" WHERE false");
        match manager.get_connection().execute_unprepared(&sql).await {
            Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
                return Err(DbErr::Migration(belongs_to_others(&object, "this user has no rights on it")));
            }
            read => read.map(|_| ())?,
        }
    }
    Ok(())
}

pub(crate) async fn drop(manager: &SchemaManager<'_>, object: fn(Server) -> Object) -> Result<(), DbErr> {
    let server = server(manager).await?;
    let object = object(server);
    check_name(manager.get_connection(), server, &object).await?;
    match object {
        Object::Table(table) => {
            manager.drop_table(Table::drop().table(name_of(&table)).if_exists().take()).await
        }
        // On CockroachDB several tables may have an index of this name.
        Object::Index { name, table, .. } if server == Server::Cockroach => {
            let sql = format!("DROP INDEX IF EXISTS \"{table}\"@\"{name}\"");
            manager.get_connection().execute_unprepared(&sql).await.map(|_| ())
        }
        Object::Index { name, table, .. } => {
            manager.drop_index(Index::drop().name(name).table(table).if_exists().to_owned()).await
        }
    }
}

/// Fails with [`DbErr::Migration`] if another object has the name.
pub(crate) async fn check_name(
    connection: &impl ConnectionTrait,
    server: Server,
    object: &Object,
) -> Result<(), DbErr> {
    let difference = match object {
        Object::Table(table) => {
            let existing = catalog::find(connection, server, &name_of(table)).await?;
            difference_of_table(existing, &columns(table, server))
        }
        Object::Index { name, table, column } => {
            let existing = catalog::find_index(connection, server, name, table).await?;
            difference_of_index(existing, column)
        }
    };
    difference.map_or(Ok(()), |difference| Err(DbErr::Migration(belongs_to_others(object, &difference))))
}

fn belongs_to_others(object: &Object, difference: &str) -> String {
    format!(
        "\"{object}\" belongs to another program, {difference}: rename it, or give the bank a database of its own"
    )
}

fn difference_of_table(existing: Option<Existing>, expected: &[Column]) -> Option<String> {
    let columns = match existing? {
        Existing::Table(columns) => columns,
        Existing::Index(_) => return Some("it is an index".to_owned()),
        Existing::Other(kind) => return Some(format!("it is {kind}")),
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

fn difference_of_index(existing: Option<Existing>, column: &str) -> Option<String> {
    match existing? {
        Existing::Index(columns) if columns == [column] => None,
        Existing::Index(columns) => Some(format!("it is on {}, not on {column}", columns.join(", "))),
        Existing::Table(_) => Some("it is a table".to_owned()),
        Existing::Other(kind) => Some(format!("it is {kind}")),
    }
}

/// The columns in the notation of the server's catalog.
fn columns(table: &TableCreateStatement, server: Server) -> Vec<Column> {
    let column = |column: &ColumnDef| {
        let mut type_name = String::new();
        if let Some(of) = column.get_column_type() {
            match server {
                Server::Sqlite => SqliteQueryBuilder.prepare_column_type(of, &mut type_name),
                Server::Postgres | Server::Cockroach => {
                    PostgresQueryBuilder.prepare_column_type(of, &mut type_name)
                }
            }
        }
        let spec = column.get_column_spec();
        Column {
            name: column.get_column_name(),
            type_name,
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
