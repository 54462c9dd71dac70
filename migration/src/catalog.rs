//! Looks up a name in the database's catalog, which needs no rights on the object.

use std::fmt;

use database::Server;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

/// The object that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Table(Vec<Column>),
    /// The names of the indexed columns.
    Index(Vec<String>),
    /// A description, such as `a view`.
    Other(String),
}

/// A column, in the catalog's notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) not_null: bool,
    /// Whether it is part of the primary key.
    pub(crate) key: bool,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, type_name, not_null, key } = self;
        write!(f, "{name} {type_name}")?;
        f.write_str(if *not_null { " NOT NULL" } else { "" })?;
        f.write_str(if *key { " PRIMARY KEY" } else { "" })
    }
}

/// Includes types, because a table creates a type of its name.
const RELATION: &str = "SELECT CAST(c.relkind AS text) AS kind, a.attname::text AS name, \
       format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, \
       EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p' \
         AND a.attnum = ANY(k.conkey)) AS key \
     FROM pg_catalog.pg_class AS c \
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     WHERE n.nspname = current_schema() AND c.relname = $1 \
     UNION ALL \
     SELECT 'type', NULL, NULL, NULL, NULL FROM pg_catalog.pg_type AS t \
     JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace \
     WHERE n.nspname = current_schema() AND t.typname = $1 AND t.typrelid = 0";

const INDEX: &str = "SELECT t.relname::text AS indexed, a.attname::text AS name \
     FROM pg_catalog.pg_index AS i \
     JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
     JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid \
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey) \
     WHERE n.nspname = current_schema() AND c.relname = $1 ORDER BY a.attnum";

const SQLITE_OBJECT: &str = "SELECT m.type AS kind, i.name AS name, lower(i.type) AS type, \
       i.\"notnull\" AS not_null, i.pk > 0 AS key \
     FROM sqlite_master AS m LEFT JOIN pragma_table_xinfo(m.name) AS i ON m.type IN ('table', 'view') \
     WHERE lower(m.name) = lower($1) ORDER BY i.cid";

const SQLITE_INDEX: &str = "SELECT m.tbl_name AS indexed, i.name FROM sqlite_master AS m, pragma_index_info(m.name) AS i \
     WHERE m.type = 'index' AND lower(m.name) = lower($1) ORDER BY i.seqno";

/// The object with this name; `None` if the name is free.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    server: Server,
    name: &str,
) -> Result<Option<Existing>, DbErr> {
    let sql = if server == Server::Sqlite { SQLITE_OBJECT } else { RELATION };
    let mut found = None;
    for row in rows(connection, sql, name).await? {
        let kind: String = row.try_get("", "kind")?;
        match (kind.as_str(), server) {
            ("table" | "r" | "p", _) => match found.get_or_insert(Existing::Table(Vec::new())) {
                Existing::Table(columns) => columns.extend(column(&row)?),
                Existing::Index(_) | Existing::Other(_) => {}
            },
            // CockroachDB requires unique index names per table only.
            ("i", Server::Cockroach) => {}
            (kind, _) => found = Some(Existing::Other(describe(kind).to_owned())),
        }
    }
    Ok(found)
}

/// The object with an index's name; `None` if the name is free.
pub(crate) async fn find_index(
    connection: &impl ConnectionTrait,
    server: Server,
    name: &str,
    table: &str,
) -> Result<Option<Existing>, DbErr> {
    // Elsewhere indexes share a namespace with tables. Queried first, so that an index created
    // concurrently is found by the second query, with its columns.
    if server != Server::Cockroach {
        match find(connection, server, name).await? {
            Some(Existing::Other(kind)) if kind == AN_INDEX => {}
            Some(Existing::Table(_) | Existing::Index(_)) => {
                return Ok(Some(Existing::Other("a table".to_owned())));
            }
            other => return Ok(other),
        }
    }
    let indexed = if server == Server::Sqlite { SQLITE_INDEX } else { INDEX };
    let mut columns = Vec::new();
    for row in rows(connection, indexed, name).await? {
        let of: String = row.try_get("", "indexed")?;
        if of == table {
            columns.push(row.try_get("", "name")?);
        } else if server != Server::Cockroach {
            return Ok(Some(Existing::Other(format!("{AN_INDEX} of the table {of}"))));
        }
    }
    Ok((!columns.is_empty()).then_some(Existing::Index(columns)))
}

const AN_INDEX: &str = "an index";

fn column(row: &QueryResult) -> Result<Option<Column>, DbErr> {
    let Some(name) = row.try_get::<Option<String>>("", "name")? else { return Ok(None) };
    Ok(Some(Column {
        name,
        type_name: row.try_get("", "type")?,
        not_null: row.try_get("", "not_null")?,
        key: row.try_get("", "key")?,
    }))
}

fn describe(kind: &str) -> &str {
    match kind {
        "v" | "view" => "a view",
        "m" => "a materialized view",
        "i" | "I" | "index" => AN_INDEX,
        "S" => "a sequence",
        "f" => "a foreign table",
        "c" | "type" => "a type",
        "trigger" => "a trigger",
        _ => "something else",
    }
}

async fn rows(connection: &impl ConnectionTrait, sql: &str, name: &str) -> Result<Vec<QueryResult>, DbErr> {
    let backend = connection.get_database_backend();
    connection.query_all_raw(Statement::from_sql_and_values(backend, sql, [name.into()])).await
}
