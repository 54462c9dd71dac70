//! Why a migration failed: one line that says what to do next.

use database::{Database, Server, UNLICENSED, reason, sqlstate};
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use terminal::{CommandLine, Exit, Failure};

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A missing right. On PostgreSQL and SQLite nothing was applied.
    #[error("the database refused to change the schema: {reason}; {remedy}, then run this again")]
    Denied {
        /// The server's message.
        reason: String,
        /// The statement that an administrator has to run.
        remedy: String,
        /// The server's own error.
        #[source]
        source: DbErr,
    },
    /// The connection was lost or refused.
    #[error(
        "the connection to the database failed: {reason}; check that the server is up, then run this again"
    )]
    Lost {
        /// The network's or the server's message.
        reason: String,
        /// The driver's own error.
        #[source]
        source: DbErr,
    },
    /// The server is a hot standby.
    #[error(
        "the server is a hot standby, which takes no writes: give the URL of the primary, or promote this server"
    )]
    Standby,
    /// Another session held the schema for too long.
    #[error("another session holds the schema ({reason}): wait until it ends, then run this again")]
    Busy {
        /// The message of the last attempt.
        reason: String,
        /// The database's own error.
        #[source]
        source: DbErr,
    },
    /// A table with CockroachDB's `schema_locked`.
    #[error(
        "the database refused to change the schema: {reason}; unlock that table (ALTER TABLE … SET (schema_locked = false)), then run this again"
    )]
    Locked {
        /// The server's message, with the table's name.
        reason: String,
        /// The server's own error.
        #[source]
        source: DbErr,
    },
    /// CockroachDB is throttled without a licence.
    #[error("the database throttles transactions: {reason}; {UNLICENSED}")]
    Throttled {
        /// The server's message.
        reason: String,
        /// The server's own error.
        #[source]
        source: DbErr,
    },
    /// A newer version of this program migrated the database.
    #[error(
        "the database has migrations that this program does not know ({}): use the version that applied them",
        names.join(", ")
    )]
    Ahead {
        /// The migrations unknown to this program.
        names: Vec<String>,
    },
    /// New tables would go to another schema than the bank's.
    #[error(
        "the bank is in the schema \"{bank}\", but new tables would go to the schema \"{current}\", the first of the search path: set this user's search_path to \"{bank}\", or rename the schema \"{current}\""
    )]
    Elsewhere {
        /// The bank's schema.
        bank: String,
        /// The first schema of the search path.
        current: String,
    },
    /// Another program's object has the name, or the bank is in two schemas.
    #[error("{0}")]
    Refused(String),
    /// Any other error of the database.
    #[error("the migration failed: {reason}; `{}` shows what is applied", CommandLine::migrate("status"))]
    Failed {
        /// The database's message.
        reason: String,
        /// The database's own error.
        #[source]
        source: DbErr,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, kind) = match &error {
            Error::Denied { .. } => (Exit::NoDatabase, "denied"),
            Error::Lost { .. } => (Exit::NoDatabase, "no_database"),
            Error::Ahead { .. } => (Exit::NoDatabase, "schema_ahead"),
            Error::Standby => (Exit::Failed, "read_only"),
            Error::Busy { .. } => (Exit::Failed, "busy"),
            Error::Locked { .. } => (Exit::Failed, "schema_locked"),
            Error::Throttled { .. } => (Exit::Failed, "throttled"),
            Error::Elsewhere { .. } => (Exit::Failed, "schema_elsewhere"),
            Error::Refused(_) => (Exit::Failed, "schema_refused"),
            Error::Failed { .. } => (Exit::Failed, "migration_failed"),
        };
        Self::new(exit, kind, error.to_string())
    }
}

impl Error {
    /// Classifies an error; asks the server for the names in a missing grant.
    pub(crate) async fn of(database: &Database, source: DbErr) -> Self {
        if let DbErr::Migration(line) = source {
            return Self::Refused(line);
        }
        let reason = reason(&source);
        match sqlstate(&source).as_deref() {
            Some("42501") => Self::Denied { remedy: grant(database).await, reason, source },
            Some(code) if is_read_only(database.server, code) => Self::Denied {
                remedy: "make its file and folder writable, and open it with ?mode=rwc".to_owned(),
                reason,
                source,
            },
            Some("57000") => Self::Locked { reason, source },
            Some("XXC02") => Self::Throttled { reason, source },
            Some("53300" | "57P01" | "57P02" | "57P03") => Self::Lost { reason, source },
            Some(_) if is_contention(&source) => Self::Busy { reason, source },
            Some(_) => Self::Failed { reason, source },
            None if is_connection(&source) => Self::Lost { reason, source },
            None => Self::Failed { reason, source },
        }
    }
}

/// Whether a retry may succeed: caused by the stock migrator, which takes no lock, by an app's
/// table lock, or by CockroachDB's retry errors.
fn is_contention(error: &DbErr) -> bool {
    matches!(
        sqlstate(error).as_deref(),
        Some(
            // Created concurrently: a table, an object, a column, a row.
            "42P07" | "42710" | "42701" | "23505"
            // Dropped concurrently.
            | "42P01" | "42704" | "55000"
            // Serialization failure, deadlock, timeouts; CockroachDB: retry, ambiguous result.
            | "40001" | "40P01" | "55P03" | "CR000" | "57014" | "40003"
            // PostgreSQL: `tuple concurrently updated`.
            | "XX000"
            // SQLite: busy, locked, duplicate row.
            | "5" | "261" | "517" | "773" | "6" | "262" | "1555" | "2067"
        )
    )
}

fn is_connection(error: &DbErr) -> bool {
    use sea_orm_migration::sea_orm::sqlx::Error as Driver;
    match database::driver_error(error) {
        Some(Driver::Io(_) | Driver::Tls(_) | Driver::PoolTimedOut | Driver::PoolClosed) => true,
        _ => matches!(error, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)),
    }
}

fn is_read_only(server: Server, code: &str) -> bool {
    server == Server::Sqlite && code.parse::<u32>().is_ok_and(|code| code & 0xff == 8)
}

/// The missing grant, with placeholders if the server does not answer.
async fn grant(database: &Database) -> String {
    let query = Statement::from_string(
        DbBackend::Postgres,
        "SELECT quote_ident(current_user), quote_ident(current_database()), quote_ident(current_schema())",
    );
    let names = database::answered(database.connection.query_one_raw(query)).await.ok().flatten();
    let name = |index: usize, otherwise: &str| {
        names
            .as_ref()
            .and_then(|row| row.try_get_by_index::<Option<String>>(index).ok().flatten())
            .unwrap_or_else(|| otherwise.to_owned())
    };
    let user = name(0, "<user>");
    match database.server {
        Server::Cockroach => {
            format!("as an administrator run: GRANT ALL ON DATABASE {} TO {user}", name(1, "bank"))
        }
        Server::Postgres | Server::Sqlite => {
            format!("as its owner run: GRANT CREATE, USAGE ON SCHEMA {} TO {user}", name(2, "public"))
        }
    }
}
