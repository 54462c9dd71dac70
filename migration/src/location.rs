//! The schema that holds the bank.
//!
//! An unqualified name resolves to the first schema of the search path that has it; new tables go
//! to the first schema. A schema in front of the bank's can hide its tables or receive its next
//! ones.

use std::collections::BTreeSet;

use database::Server;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement};

/// The table that records the applied migrations.
pub(crate) const RECORDS: &str = "seaql_migrations";

/// A schema of the search path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Schema {
    name: String,
    /// The bank's tables in it.
    tables: BTreeSet<String>,
}

/// The location of the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// No schema has the table [`RECORDS`].
    Nowhere,
    /// In the first schema of the search path.
    Current,
    /// In a later schema of the search path.
    Behind {
        bank: String,
        /// The first schema, which new tables go to.
        current: String,
    },
    /// In two schemas, in the order of the search path.
    Ambiguous { first: String, second: String },
}

const SCHEMAS: &str = "SELECT s.name::text AS schema, c.relname::text AS relation \
     FROM unnest(current_schemas(false)) WITH ORDINALITY AS s(name, place) \
     LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name \
     LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname IN ($1, $2, $3, $4, $5) \
     ORDER BY s.place";

/// Finds the bank.
pub(crate) async fn find(connection: &impl ConnectionTrait, server: Server) -> Result<Location, DbErr> {
    let backend = connection.get_database_backend();
    if server == Server::Sqlite {
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1";
        let records = Statement::from_sql_and_values(backend, sql, [RECORDS.into()]);
        let found = connection.query_one_raw(records).await?;
        return Ok(if found.is_some() { Location::Current } else { Location::Nowhere });
    }
    let names = std::iter::once(RECORDS.to_owned()).chain(tables(server)).map(Into::into);
    let rows = connection.query_all_raw(Statement::from_sql_and_values(backend, SCHEMAS, names)).await?;
    let mut schemas: Vec<Schema> = Vec::new();
    for row in rows {
        let name: String = row.try_get("", "schema")?;
        if schemas.last().is_none_or(|last| last.name != name) {
            schemas.push(Schema { name, ..Schema::default() });
        }
        if let (Some(schema), Some(relation)) = (schemas.last_mut(), row.try_get("", "relation")?) {
            schema.tables.insert(relation);
        }
    }
    Ok(locate(&schemas))
}

fn tables(server: Server) -> impl Iterator<Item = String> {
    crate::migrations().into_iter().filter_map(move |each| each.object(server).table_name())
}

fn locate(schemas: &[Schema]) -> Location {
    let records = |schema: &Schema| schema.tables.contains(RECORDS);
    let Some(home) = schemas.iter().position(records) else { return Location::Nowhere };
    let bank = &schemas[home];
    // A table of the same name before the bank's schema hides the bank's.
    let hiding = schemas[..home].iter().find(|schema| !schema.tables.is_empty());
    // After it, records and a table that the bank lacks mean a second bank.
    let hidden =
        schemas[home + 1..].iter().find(|schema| records(schema) && !schema.tables.is_subset(&bank.tables));
    match (hiding, hidden) {
        (Some(other), _) => Location::Ambiguous { first: other.name.clone(), second: bank.name.clone() },
        (None, Some(other)) => Location::Ambiguous { first: bank.name.clone(), second: other.name.clone() },
        (None, None) if home == 0 => Location::Current,
        (None, None) => Location::Behind { bank: bank.name.clone(), current: schemas[0].name.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, tables: &[&str]) -> Schema {
        Schema { name: name.to_owned(), tables: tables.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_bank_is_where_its_migrations_are_recorded() {
        let whole = &[RECORDS, "accounts", "transfers"][..];
        let behind = Location::Behind { bank: "public".to_owned(), current: "bank".to_owned() };
        let ambiguous = Location::Ambiguous { first: "bank".to_owned(), second: "public".to_owned() };
        for (first, second, expected) in [
            (&[][..], &[][..], Location::Nowhere),
            (&["accounts"], &["accounts"], Location::Nowhere),
            (whole, &[], Location::Current),
            (whole, &[RECORDS], Location::Current),
            (whole, whole, Location::Current),
            (whole, &["points"], Location::Current),
            (&[], whole, behind),
            (&[RECORDS], whole, ambiguous.clone()),
            (&["accounts"], whole, ambiguous.clone()),
            (&["points"], &[RECORDS, "accounts"], ambiguous),
        ] {
            let schemas = [schema("bank", first), schema("public", second)];
            assert_eq!(locate(&schemas), expected, "{first:?} before {second:?}");
        }
    }
}
