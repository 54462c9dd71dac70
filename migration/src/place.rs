//! Which schema of a server the bank is in.
//!
//! Names without a schema are found in the first schema of the search path that has them, and created in the first one of
//! all. So a schema that appears in front of the bank's, such as one that is named like the user, can hide the bank, or
//! take its next tables.

use std::collections::BTreeSet;

use database::Server;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement};

use crate::object::made_here;

/// Where migrations are recorded.
pub(crate) const RECORDS: &str = "seaql_migrations";

/// A schema of the search path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Schema {
    name: String,
    /// The bank's names that it has.
    has: BTreeSet<String>,
}

/// Where the bank is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing is recorded anywhere.
    Nowhere,
    /// Here, and here new tables go.
    Current,
    /// In one schema, while new tables would go to another.
    Behind {
        /// The bank's.
        bank: String,
        /// The other.
        current: String,
    },
    /// In two schemas: each has some of it.
    Ambiguous {
        /// The one that comes first in the search path.
        first: String,
        /// The other.
        second: String,
    },
}

const SCHEMAS: &str = "SELECT s.name::text AS schema, c.relname::text AS relation \
     FROM unnest(current_schemas(false)) WITH ORDINALITY AS s(name, place) \
     LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name \
     LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname IN ($1, $2, $3, $4, $5) \
     ORDER BY s.place";

/// Looks where the bank is.
pub(crate) async fn find(connection: &impl ConnectionTrait, server: Server) -> Result<Place, DbErr> {
    let backend = connection.get_database_backend();
    if server == Server::Sqlite {
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1";
        let records = Statement::from_sql_and_values(backend, sql, [RECORDS.into()]);
        let found = connection.query_one_raw(records).await?;
        return Ok(if found.is_some() { Place::Current } else { Place::Nowhere });
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
            schema.has.insert(relation);
        }
    }
    Ok(place(&schemas))
}

fn tables(server: Server) -> impl Iterator<Item = String> {
    made_here(server).into_iter().filter_map(|(_, object)| object.table())
}

/// `schemas` in the order of the search path.
fn place(schemas: &[Schema]) -> Place {
    let records = |schema: &Schema| schema.has.contains(RECORDS);
    let Some(home) = schemas.iter().position(records) else { return Place::Nowhere };
    let bank = &schemas[home];
    // In front of the bank's schema any of its names hides the bank's own.
    let hiding = schemas[..home].iter().find(|schema| !schema.has.is_empty());
    // Behind it, tables that it lacks are another bank's, where they are recorded too.
    let hidden =
        schemas[home + 1..].iter().find(|schema| records(schema) && !schema.has.is_subset(&bank.has));
    match (hiding, hidden) {
        (Some(other), _) => Place::Ambiguous { first: other.name.clone(), second: bank.name.clone() },
        (None, Some(other)) => Place::Ambiguous { first: bank.name.clone(), second: other.name.clone() },
        (None, None) if home == 0 => Place::Current,
        (None, None) => Place::Behind { bank: bank.name.clone(), current: schemas[0].name.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, has: &[&str]) -> Schema {
        Schema { name: name.to_owned(), has: has.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_bank_is_where_its_migrations_are_recorded() {
        let whole = &[RECORDS, "accounts", "transfers"][..];
        let behind = Place::Behind { bank: "public".to_owned(), current: "bank".to_owned() };
        let ambiguous = Place::Ambiguous { first: "bank".to_owned(), second: "public".to_owned() };
        for (first, second, expected) in [
            (&[][..], &[][..], Place::Nowhere),
            (&["accounts"], &["accounts"], Place::Nowhere),
            (whole, &[], Place::Current),
            (whole, &[RECORDS], Place::Current),
            (whole, whole, Place::Current),
            (whole, &["points"], Place::Current),
            (&[], whole, behind),
            (&[RECORDS], whole, ambiguous.clone()),
            (&["accounts"], whole, ambiguous.clone()),
            (&["points"], &[RECORDS, "accounts"], ambiguous),
        ] {
            let schemas = [schema("bank", first), schema("public", second)];
            assert_eq!(place(&schemas), expected, "{first:?} before {second:?}");
        }
    }
}
