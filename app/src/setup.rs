//! The tutorial's third step: a database, and a user who may work in it. Whatever is there already is left as it is, so it can
//! be done again.
//!
//! What it leaves to others: the schema (crate `migration`, which the new user may run).

mod name;

use std::time::Duration;

use database::{Database, Server, answered, reason, sqlstate};
use postgres_protocol::password::scram_sha_256;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, RuntimeErr, Statement};
use serde::Serialize;

pub use name::Name;

/// What is to be there.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The database.
    pub database: Name,
    /// Who may work in it.
    pub user: Name,
    /// How they prove who they are; unchanged where it is left out.
    pub password: Option<Password>,
}

/// A password. It is never shown.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What became of the server's part.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Created {
    /// Whether the database was not there.
    pub database_created: bool,
    /// Whether the user was not there.
    pub user_created: bool,
    /// What became of the password.
    pub password: PasswordSet,
}

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordSet {
    /// It is the user's now.
    Set,
    /// None was given: whatever the user had stays.
    NotGiven,
    /// An insecure CockroachDB takes none, and asks nobody for one.
    Insecure,
}

/// How CockroachDB says that an insecure cluster has no passwords.
const INVALID_PASSWORD: &str = "28P01";

/// Why it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The administrator lacks a right. Nothing is made.
    #[error("this administrator may not create {what}: run it as one with {right}")]
    Denied {
        /// What is not to be had.
        what: &'static str,
        /// The right that is needed.
        right: &'static str,
    },
    /// The server's error.
    #[error("{}", reason(.0))]
    Database(#[from] DbErr),
}

/// Creates the database and the user, where they are missing, and sets the password. Others may do the same meanwhile.
///
/// # Errors
///
/// [`SetupError::Denied`], and nothing is made; else the server's error, of the first statement that it refuses.
pub async fn create(admin: &Database, wanted: &Wanted) -> Result<Created, SetupError> {
    let (database, user) = (&wanted.database, &wanted.user);
    // The user first: whoever may not make users has not made a database, which would be half of it. Versions differ in
    // how they could be asked.
    let has_user = is_there(admin, "pg_roles WHERE rolname", user.as_str()).await?;
    let user_created = !has_user
        && made(admin, &format!("CREATE USER {}", user.quoted()))
            .await
            .map_err(|error| denied(error, "users", "CREATEROLE, and on CockroachDB CREATELOGIN"))?;
    let database_created = match create_database(admin, database).await {
        Err(error) if user_created => {
            let _ = again(admin, &format!("DROP USER {}", user.quoted())).await;
            return Err(error);
        }
        done => done?,
    };
    let password = match &wanted.password {
        None => PasswordSet::NotGiven,
        Some(password) => set_password(admin, user, password).await?,
    };
    Ok(Created { database_created, user_created, password })
}

async fn create_database(admin: &Database, name: &Name) -> Result<bool, SetupError> {
    if is_there(admin, "pg_database WHERE datname", name.as_str()).await? {
        return Ok(false);
    }
    let made = made(admin, &format!("CREATE DATABASE {}", name.quoted())).await;
    made.map_err(|error| denied(error, "databases", "CREATEDB"))
}

fn denied(error: DbErr, what: &'static str, right: &'static str) -> SetupError {
    match sqlstate(&error).as_deref() {
        Some("42501") => SetupError::Denied { what, right },
        _ => SetupError::Database(error),
    }
}

/// Lets the user read and write all tables of the database, those there are and those that come, and create some.
///
/// # Errors
///
/// The server's; `database` is the one that was created.
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
                again(database, &sql).await?;
            }
            for rights in [&format!("{write} ON TABLES"), "USAGE, SELECT ON SEQUENCES"] {
                let sql = format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} TO {user}");
                match again(database, &sql).await {
                    // Whoever may make no tables there has none to give rights on.
                    Err(error) if sqlstate(&error).as_deref() == Some("42501") => {}
                    done => done?,
                }
            }
        }
        Server::Cockroach => {
            // New tables of v20.x and v21.1 take their rights from the database's.
            again(database, &format!("GRANT ALL ON DATABASE {name} TO {user}")).await?;
            if has_tables(database).await? {
                again(database, &format!("GRANT {write} ON TABLE {name}.public.* TO {user}")).await?;
            }
            for rights in [
                "GRANT CREATE ON SCHEMA public",
                &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {write} ON TABLES"),
            ] {
                newer(again(database, &format!("{rights} TO {user}")).await)?;
            }
        }
    }
    Ok(())
}

/// Whether the user, `$1` in the question, has a right already: this administrator may not have it to give.
async fn has_right(database: &Database, user: &Name, question: &str) -> Result<bool, DbErr> {
    let values = [user.as_str().into()];
    let statement = Statement::from_sql_and_values(backend(database), format!("SELECT {question}"), values);
    let row = query(database, statement).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// A table or a sequence.
struct Relation {
    /// Quoted, with its schema.
    name: String,
    kind: String,
}

/// What the user lacks rights on: not what is the user's own, whose rights this administrator may not have to give.
async fn withheld(database: &Database, user: &Name) -> Result<Vec<Relation>, DbErr> {
    let sql = "SELECT c.oid::regclass::text AS name, c.relkind::text AS kind FROM pg_catalog.pg_class AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT CASE c.relkind \
           WHEN 'S' THEN has_sequence_privilege($1, c.oid, 'USAGE') AND has_sequence_privilege($1, c.oid, 'SELECT') \
           ELSE has_table_privilege($1, c.oid, 'SELECT') AND has_table_privilege($1, c.oid, 'INSERT') \
             AND has_table_privilege($1, c.oid, 'UPDATE') AND has_table_privilege($1, c.oid, 'DELETE') END";
    let statement = Statement::from_sql_and_values(backend(database), sql, [user.as_str().into()]);
    let rows = answered(database.connection.query_all_raw(statement)).await?;
    rows.iter()
        .map(|row| Ok(Relation { name: row.try_get("", "name")?, kind: row.try_get("", "kind")? }))
        .collect()
}

async fn set_password(admin: &Database, user: &Name, password: &Password) -> Result<PasswordSet, DbErr> {
    let alter = format!("ALTER USER {} WITH PASSWORD", user.quoted());
    let done = match admin.server {
        Server::Cockroach => {
            let values = [password.0.as_str().into()];
            let statement = Statement::from_sql_and_values(backend(admin), format!("{alter} $1"), values);
            answered(admin.connection.execute_raw(statement)).await.map(drop)
        }
        // It takes no parameter there, and may log the text: so it gets what it would store, as from psql's \password.
        Server::Sqlite | Server::Postgres => {
            let stored = scram_sha_256(password.0.as_bytes());
            database::log_statement(&format!("{alter} '***'"));
            unlogged(admin, format!("{alter} '{stored}'")).await
        }
    };
    match done {
        Ok(()) => Ok(PasswordSet::Set),
        Err(error)
            if admin.server == Server::Cockroach && sqlstate(&error).as_deref() == Some(INVALID_PASSWORD) =>
        {
            Ok(PasswordSet::Insecure)
        }
        Err(error) => Err(error),
    }
}

/// Runs a statement that nobody may see, in a session of its own.
async fn unlogged(admin: &Database, sql: String) -> Result<(), DbErr> {
    let options = admin.connection.get_postgres_connection_pool().connect_options();
    let options = (*options).clone().disable_statement_logging();
    let failed = |error: sqlx::Error| DbErr::Exec(RuntimeErr::SqlxError(error.into()));
    let running = async {
        let mut session = sqlx::PgConnection::connect_with(&options).await.map_err(failed)?;
        for attempt in 1.. {
            match sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut session).await.map_err(failed) {
                Err(error) if is_rivalry(&error) && attempt < ATTEMPTS_MAX => tokio::time::sleep(PAUSE).await,
                done => {
                    done?;
                    break;
                }
            }
        }
        let _ = session.close().await;
        Ok(())
    };
    answered(running).await
}

/// Makes something; answers with whether it was not there.
async fn made(database: &Database, sql: &str) -> Result<bool, DbErr> {
    match again(database, sql).await {
        Ok(()) => Ok(true),
        // Somebody made it first: duplicate_database, duplicate_object, and the same met in the catalogue.
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P04" | "42710" | "23505")) => Ok(false),
        Err(error) => Err(error),
    }
}

const ATTEMPTS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a statement again where somebody else was at the same.
async fn again(database: &Database, sql: &str) -> Result<(), DbErr> {
    for _ in 1..ATTEMPTS_MAX {
        match answered(database.connection.execute_unprepared(sql)).await {
            Err(error) if is_rivalry(&error) => tokio::time::sleep(PAUSE).await,
            done => return done.map(drop),
        }
    }
    answered(database.connection.execute_unprepared(sql)).await.map(drop)
}

/// Serialization, deadlock, a template that is being copied, `tuple concurrently updated`.
fn is_rivalry(error: &DbErr) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01" | "55006" | "XX000" | "CR000"))
}

/// A statement that older CockroachDB does not know, and does not need.
fn newer(done: Result<(), DbErr>) -> Result<(), DbErr> {
    match done {
        // syntax_error; feature_not_supported; invalid_schema_name, of v20.2, where everybody may create in `public`
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42601" | "0A000" | "3F000")) => {
            tracing::debug!(%error, "not known to this version");
            Ok(())
        }
        done => done,
    }
}

fn backend(database: &Database) -> DbBackend {
    database.connection.get_database_backend()
}

async fn query(database: &Database, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
    answered(database.connection.query_one_raw(statement)).await
}

async fn is_there(admin: &Database, catalog: &str, name: &str) -> Result<bool, DbErr> {
    let sql = format!("SELECT 1 FROM pg_catalog.{catalog} = $1");
    let row = query(admin, Statement::from_sql_and_values(backend(admin), sql, [name.into()])).await?;
    Ok(row.is_some())
}

async fn has_tables(database: &Database) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'public' LIMIT 1";
    Ok(query(database, Statement::from_string(backend(database), sql)).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let wanted = Wanted {
            database: Name::parse("bank").expect("a good name"),
            user: Name::parse("bank").expect("a good name"),
            password: Some(Password("s3cret".to_owned())),
        };
        assert!(!format!("{wanted:?}").contains("s3cret"));
    }
}
