//! Passwords, sent without being logged.

use database::{Database, Server, answered, sqlstate};
use postgres_protocol::password::scram_sha_256;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection};
use sea_orm::{ConnectionTrait, DbErr, RuntimeErr};
use serde::Serialize;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::Name;
use super::statement::{ATTEMPTS_MAX, PAUSE, is_rivalry};
use crate::bank::query::statement;

/// A password. `Debug` hides it.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What happened to the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordSet {
    /// It was set.
    Set,
    /// None was given; the old one stays.
    NotGiven,
    /// An insecure CockroachDB has no passwords.
    Insecure,
}

/// CockroachDB's SQLSTATE for a password on an insecure cluster.
const INVALID_PASSWORD: &str = "28P01";

pub(super) async fn set_password(
    admin: &Database,
    user: &Name,
    password: &Password,
) -> Result<PasswordSet, DbErr> {
    let alter = format!("ALTER USER {} WITH PASSWORD", user.quoted());
    database::log_statement(&format!("{alter} '***'"));
    let done = match admin.server {
        Server::Cockroach => {
            let one = &admin.connection;
            let statement = statement(one, format!("{alter} $1"), [password.0.as_str().into()]);
            // Logs show parameters.
            let unlogged = one.execute_raw(statement).with_subscriber(NoSubscriber::default());
            answered(unlogged).await.map(drop)
        }
        // PostgreSQL takes no parameter here and may log the text, so it gets the verifier, as from
        // psql's `\password`.
        Server::Sqlite | Server::Postgres => {
            let stored = scram_sha_256(password.0.as_bytes());
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

/// Runs a statement without logging it, in a session of its own.
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

#[cfg(test)]
mod tests {
    use super::super::Wanted;
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
