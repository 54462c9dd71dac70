//! The tutorial's third step: a database, and a user who may work in it. Whatever is there already is left as it is, so it can
//! be done again.
//!
//! What it leaves to others: the schema (crate `migration`, which the new user may run).

use database::{Database, Server, sqlstate};
use postgres_protocol::password::scram_sha_256;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use serde::Serialize;

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

/// A name that needs no quotes, in a statement or in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// PostgreSQL cuts longer ones off.
const NAME_MAX: usize = 63;

impl Name {
    /// Lower-case letters, digits and underscores, a letter first, 63 at most.
    ///
    /// # Errors
    ///
    /// What a name has to be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= NAME_MAX && text.chars().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("use lower-case letters, digits and underscores, a letter first, {NAME_MAX} at most"))
        }
    }

    /// As it stands in a statement.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

/// Creates the database and the user, where they are missing, and sets the password.
///
/// # Errors
///
/// The server's, of the first statement that it refuses.
pub async fn create(admin: &Database, wanted: &Wanted) -> Result<Created, DbErr> {
    let (database, user) = (wanted.database.as_str(), wanted.user.as_str());
    let database_created = !is_there(admin, "pg_database WHERE datname", database).await?
        && made(run(admin, &format!("CREATE DATABASE {database}")).await)?;
    let user_created = !is_there(admin, "pg_roles WHERE rolname", user).await?
        && made(run(admin, &format!("CREATE USER {user}")).await)?;
    let password = match &wanted.password {
        None => PasswordSet::NotGiven,
        Some(Password(password)) => set_password(admin, user, password).await?,
    };
    Ok(Created { database_created, user_created, password })
}

/// Lets the user read and write all tables of the database, those there are and those that come, and create some.
///
/// # Errors
///
/// As for [`create`]; `database` is the one that was created.
pub async fn grant(database: &Database, wanted: &Wanted) -> Result<(), DbErr> {
    let (name, user) = (wanted.database.as_str(), wanted.user.as_str());
    let write = "SELECT, INSERT, UPDATE, DELETE";
    match database.server {
        Server::Sqlite => {}
        Server::Postgres => {
            for rights in [
                &format!("CONNECT ON DATABASE {name}"),
                "USAGE, CREATE ON SCHEMA public",
                &format!("{write} ON ALL TABLES IN SCHEMA public"),
                "USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public",
            ] {
                run(database, &format!("GRANT {rights} TO {user}")).await?;
            }
            for rights in [&format!("{write} ON TABLES"), "USAGE, SELECT ON SEQUENCES"] {
                run(database, &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} TO {user}"))
                    .await?;
            }
        }
        Server::Cockroach => {
            // New tables of v20.x and v21.1 take their rights from the database's.
            run(database, &format!("GRANT ALL ON DATABASE {name} TO {user}")).await?;
            if has_tables(database).await? {
                run(database, &format!("GRANT {write} ON TABLE {name}.public.* TO {user}")).await?;
            }
            for rights in [
                "GRANT CREATE ON SCHEMA public",
                &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {write} ON TABLES"),
            ] {
                newer(run(database, &format!("{rights} TO {user}")).await)?;
            }
        }
    }
    Ok(())
}

async fn set_password(admin: &Database, user: &str, password: &str) -> Result<PasswordSet, DbErr> {
    let backend = admin.connection.get_database_backend();
    let statement = match admin.server {
        Server::Cockroach => Statement::from_sql_and_values(
            backend,
            format!("ALTER USER {user} WITH PASSWORD $1"),
            [password.into()],
        ),
        // It takes no parameter there, and may log the text: so it gets what it would store, as from psql's \password.
        Server::Sqlite | Server::Postgres => {
            let stored = scram_sha_256(password.as_bytes());
            Statement::from_string(backend, format!("ALTER USER {user} WITH PASSWORD '{stored}'"))
        }
    };
    match admin.connection.execute_raw(statement).await {
        Ok(_) => Ok(PasswordSet::Set),
        Err(error)
            if admin.server == Server::Cockroach && sqlstate(&error).as_deref() == Some(INVALID_PASSWORD) =>
        {
            Ok(PasswordSet::Insecure)
        }
        Err(error) => Err(error),
    }
}

async fn run(database: &Database, sql: &str) -> Result<(), DbErr> {
    database.connection.execute_unprepared(sql).await.map(drop)
}

/// Whether a CREATE has made it, or it was there after all: made by another `init` meanwhile, or not shown by CockroachDB,
/// whose catalog may answer from a cache since v26.1.
fn made(done: Result<(), DbErr>) -> Result<bool, DbErr> {
    match done {
        Ok(()) => Ok(true),
        // duplicate_database; duplicate_object; unique_violation, of PostgreSQL's catalog
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P04" | "42710" | "23505")) => Ok(false),
        Err(error) => Err(error),
    }
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

async fn is_there(admin: &Database, catalog: &str, name: &str) -> Result<bool, DbErr> {
    let sql = format!("SELECT 1 FROM pg_catalog.{catalog} = $1");
    let backend = admin.connection.get_database_backend();
    let row =
        admin.connection.query_one_raw(Statement::from_sql_and_values(backend, sql, [name.into()])).await?;
    Ok(row.is_some())
}

async fn has_tables(database: &Database) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'public' LIMIT 1";
    let backend = database.connection.get_database_backend();
    Ok(database.connection.query_one_raw(Statement::from_string(backend, sql)).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quotes() {
        for good in ["bank", "max_roach2", "a"] {
            assert_eq!(Name::parse(good).expect("a good name").as_str(), good);
        }
        for bad in ["", "Bank", "2bank", "ba nk", "bank;", "bank\"", "bänk", &"b".repeat(64)] {
            Name::parse(bad).expect_err(bad);
        }
    }

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
