//! Creates the bank's database and user: the tutorial's third step. Idempotent: existing ones stay.

mod grant;
mod name;
mod password;
mod statement;

use database::{Database, reason, sqlstate};
use sea_orm::DbErr;
use serde::Serialize;

pub use grant::grant;
pub use name::Name;
pub use password::{Password, PasswordSet};

use password::set_password;
use statement::{create_unless_exists, execute_patiently, exists};

/// What to create.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The database's name.
    pub database: Name,
    /// The user's name.
    pub user: Name,
    /// The password; `None` leaves it unchanged.
    pub password: Option<Password>,
}

/// What was created.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Created {
    /// Whether the database is new.
    pub database_created: bool,
    /// Whether the user is new.
    pub user_created: bool,
    /// What happened to the password.
    pub password: PasswordSet,
}

/// Why the set-up failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The administrator lacks a right. Nothing is created.
    #[error("this administrator may not create {what}: use one with {right}")]
    Denied {
        /// What could not be created.
        what: &'static str,
        /// The right that is needed.
        right: &'static str,
    },
    /// The server's error.
    #[error("{}", reason(.0))]
    Database(#[from] DbErr),
}

/// Creates what is missing and sets the password. Safe to run concurrently.
///
/// # Errors
///
/// [`SetupError::Denied`], and nothing is created; otherwise the error of the first statement that
/// fails.
pub async fn create(admin: &Database, wanted: &Wanted) -> Result<Created, SetupError> {
    let (database, user) = (&wanted.database, &wanted.user);
    // The user first, so that an administrator without CREATEROLE leaves no database behind.
    let has_user = exists(admin, "pg_roles WHERE rolname", user.as_str()).await?;
    let user_created = !has_user
        && create_unless_exists(admin, &format!("CREATE USER {}", user.quoted()))
            .await
            .map_err(|error| denied(error, "users", "CREATEROLE, and on CockroachDB CREATELOGIN"))?;
    let database_created = match create_database(admin, database).await {
        Err(error) if user_created => {
            let _ = execute_patiently(admin, &format!("DROP USER {}", user.quoted())).await;
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
    if exists(admin, "pg_database WHERE datname", name.as_str()).await? {
        return Ok(false);
    }
    let made = create_unless_exists(admin, &format!("CREATE DATABASE {}", name.quoted())).await;
    made.map_err(|error| denied(error, "databases", "CREATEDB"))
}

fn denied(error: DbErr, what: &'static str, right: &'static str) -> SetupError {
    match sqlstate(&error).as_deref() {
        Some("42501") => SetupError::Denied { what, right },
        _ => SetupError::Database(error),
    }
}
