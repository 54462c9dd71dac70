//! What a database has under a name, as its catalog says. Rights on the object are not needed to see it.

use std::fmt;

use database::Server;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

/// What has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A table with its columns.
    Table(Vec<Column>),
    /// An index, with the names of the columns that it is on.
    Index(Vec<String>),
    /// Something else, in words.
    Other(String),
}

/// A column, in the catalog's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: String,
    pub(crate) not_null: bool,
    /// Whether it is a part of the primary key.
    pub(crate) key: bool,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, not_null, key } = self;
        write!(f, "{name} {kind}")?;
        f.write_str(if *not_null { " NOT NULL" } else { "" })?;
        f.write_str(if *key { " PRIMARY KEY" } else { "" })
    }
}

/// PostgreSQL's catalogs, which CockroachDB has too. What has no schema in its name is created in the current one, where
/// a table takes the name of a type, too.
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

/// The columns of indexes of a name, with their tables.
const INDEX: &str = "SELECT t.relname::text AS indexed, a.attname::text AS name \
     FROM pg_catalog.pg_index AS i \
     JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
     JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid \
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey) \
     WHERE n.nspname = current_schema() AND c.relname = $1 ORDER BY a.attnum";

/// SQLite's names are the same in upper and lower case.
const SQLITE_OBJECT: &str = "SELECT m.type AS kind, i.name AS name, lower(i.type) AS type, \
       i.\"notnull\" AS not_null, i.pk > 0 AS key \
     FROM sqlite_master AS m LEFT JOIN pragma_table_xinfo(m.name) AS i ON m.type IN ('table', 'view') \
     WHERE lower(m.name) = lower($1) ORDER BY i.cid";

const SQLITE_INDEX: &str = "SELECT m.tbl_name AS indexed, i.name FROM sqlite_master AS m, pragma_index_info(m.name) AS i \
     WHERE m.type = 'index' AND lower(m.name) = lower($1) ORDER BY i.seqno";

/// What has the name that a table is to have; `None` where it is free.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    server: Server,
    name: &str,
) -> Result<Option<Found>, DbErr> {
    let sql = if server == Server::Sqlite { SQLITE_OBJECT } else { RELATION };
    let mut found = None;
    for row in rows(connection, sql, name).await? {
        let kind: String = row.try_get("", "kind")?;
        match (kind.as_str(), server) {
            ("table" | "r" | "p", _) => match found.get_or_insert(Found::Table(Vec::new())) {
                Found::Table(columns) => columns.extend(column(&row)?),
                Found::Index(_) | Found::Other(_) => {}
            },
            // On CockroachDB only the indexes of one table must have different names.
            ("i", Server::Cockroach) => {}
            (kind, _) => found = Some(Found::Other(words(kind).to_owned())),
        }
    }
    Ok(found)
}

/// What has the name that an index of a table is to have; `None` where it is free.
pub(crate) async fn find_index(
    connection: &impl ConnectionTrait,
    server: Server,
    name: &str,
    table: &str,
) -> Result<Option<Found>, DbErr> {
    // Elsewhere an index shares its names with tables. This question comes first: an index that another migrator creates
    // between the two questions is then found by the second, with its columns.
    if server != Server::Cockroach {
        match find(connection, server, name).await? {
            Some(Found::Other(kind)) if kind == AN_INDEX => {}
            Some(Found::Table(_) | Found::Index(_)) => return Ok(Some(Found::Other("a table".to_owned()))),
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
            return Ok(Some(Found::Other(format!("{AN_INDEX} of the table {of}"))));
        }
    }
    Ok((!columns.is_empty()).then_some(Found::Index(columns)))
}

const AN_INDEX: &str = "an index";

/// The column of a row; `None` where its table has none.
fn column(row: &QueryResult) -> Result<Option<Column>, DbErr> {
    let Some(name) = row.try_get::<Option<String>>("", "name")? else { return Ok(None) };
    Ok(Some(Column {
        name,
        kind: row.try_get("", "type")?,
        not_null: row.try_get("", "not_null")?,
        key: row.try_get("", "key")?,
    }))
}

/// The catalogs' letters and words for what is no table.
fn words(kind: &str) -> &str {
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
