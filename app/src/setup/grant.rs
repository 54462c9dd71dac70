//! The rights of the bank's user.

use database::{Database, Server, answered, sqlstate};
use sea_orm::DbErr;

use super::statement::execute_patiently;
use super::{Name, SetupError, Wanted};
use crate::bank::query::{fetch_all, fetch_optional};

/// Lets the user read and write all present and future tables of the database, and create tables.
///
/// # Errors
///
/// The server's. `database` is the new database.
pub async fn grant(database: &Database, wanted: &Wanted) -> Result<(), SetupError> {
    let (name, user) = (wanted.database.quoted(), wanted.user.quoted());
    let write = "SELECT, INSERT, UPDATE, DELETE";
    match database.server {
        Server::Sqlite => {}
        Server::Postgres => {
            let mut all = Vec::new();
            for (has, sql) in [
                (
                    "has_database_privilege($1, current_database(), 'CONNECT')",
                    format!("CONNECT ON DATABASE {name}"),
                ),
                (
                    "has_schema_privilege($1, 'public', 'USAGE') AND has_schema_privilege($1, 'public', 'CREATE')",
                    "USAGE, CREATE ON SCHEMA public".to_owned(),
                ),
            ] {
                if !has_right(database, &wanted.user, has).await? {
                    all.push(format!("GRANT {sql} TO {user}"));
                }
            }
            for relation in withheld(database, &wanted.user).await? {
                let (rights, kind) = match relation.kind.as_str() {
                    "S" => ("USAGE, SELECT", "SEQUENCE"),
                    _ => (write, "TABLE"),
                };
                all.push(format!("GRANT {rights} ON {kind} {} TO {user}", relation.name));
            }
            for sql in all {
                execute_patiently(database, &sql).await?;
            }
            for rights in [&format!("{write} ON TABLES"), "USAGE, SELECT ON SEQUENCES"] {
                let sql = format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} TO {user}");
                match execute_patiently(database, &sql).await {
                    // Without CREATE on the schema, this administrator cannot create tables there.
                    Err(error) if sqlstate(&error).as_deref() == Some("42501") => {}
                    done => done?,
                }
            }
        }
        Server::Cockroach => {
            // On v20.x and v21.1 new tables inherit their rights from the database.
            execute_patiently(database, &format!("GRANT ALL ON DATABASE {name} TO {user}")).await?;
            if has_tables(database).await? {
                execute_patiently(database, &format!("GRANT {write} ON TABLE {name}.public.* TO {user}"))
                    .await?;
            }
            for rights in [
                "GRANT CREATE ON SCHEMA public",
                &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {write} ON TABLES"),
            ] {
                newer(execute_patiently(database, &format!("{rights} TO {user}")).await)?;
            }
        }
    }
    Ok(())
}

/// Whether the user, `$1`, has a right already. This administrator may be unable to grant it.
async fn has_right(database: &Database, user: &Name, question: &str) -> Result<bool, DbErr> {
    let sql = format!("SELECT {question}");
    let row = answered(fetch_optional(&database.connection, sql, [user.as_str().into()])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

struct Relation {
    /// Quoted, with its schema.
    name: String,
    kind: String,
}

/// The relations on which the user lacks rights. The user's own are excluded.
async fn withheld(database: &Database, user: &Name) -> Result<Vec<Relation>, DbErr> {
    let sql = "SELECT c.oid::regclass::text AS name, c.relkind::text AS kind FROM pg_catalog.pg_class AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT CASE c.relkind \
           WHEN 'S' THEN has_sequence_privilege($1, c.oid, 'USAGE') AND has_sequence_privilege($1, c.oid, 'SELECT') \
           ELSE has_table_privilege($1, c.oid, 'SELECT') AND has_table_privilege($1, c.oid, 'INSERT') \
             AND has_table_privilege($1, c.oid, 'UPDATE') AND has_table_privilege($1, c.oid, 'DELETE') END";
    let rows = answered(fetch_all(&database.connection, sql, [user.as_str().into()])).await?;
    rows.iter()
        .map(|row| Ok(Relation { name: row.try_get("", "name")?, kind: row.try_get("", "kind")? }))
        .collect()
}

async fn has_tables(database: &Database) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'public' LIMIT 1";
    Ok(answered(fetch_optional(&database.connection, sql, [])).await?.is_some())
}

/// Ignores the error of a version that needs no such statement.
fn newer(done: Result<(), DbErr>) -> Result<(), DbErr> {
    match done {
        // syntax_error; feature_not_supported; invalid_schema_name on v20.2, where everybody may
        // create in `public`
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42601" | "0A000" | "3F000")) => {
            tracing::debug!(%error, "not known to this version");
            Ok(())
        }
        done => done,
    }
}
