//! What can go wrong before the first statement, and how to read the code of what goes wrong after it.

use std::borrow::Cow;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

use crate::Address;

/// Why there is no [`Database`](crate::Database). Each is one line that says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be used. Wrong usage; nothing was contacted.
    #[error("the database URL cannot be used: {reason}")]
    BadUrl {
        /// What is wrong with it, without its password.
        reason: String,
    },
    /// Nobody answers there.
    #[error("no database server answers at {address} ({reason}): start it, or give another --database-url")]
    NoServer {
        /// Where it was looked for.
        address: Address,
        /// What the network said.
        reason: String,
    },
    /// Somebody accepted the connection and ended it before a word: a balancer without a node, or a server that stops.
    #[error(
        "the connection to {address} was closed without an answer: behind a load balancer, start a node that is ready; else see the server's log"
    )]
    HungUp {
        /// Where it was looked for.
        address: Address,
    },
    /// Somebody accepted the connection and then said nothing in time.
    #[error("the server at {address} did not answer within {seconds} s: check that it is up and ready; a cluster is once `cockroach init` has made it one, and while most of its nodes are up", seconds = after.as_secs())]
    TimedOut {
        /// Where it was looked for.
        address: Address,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server is there, the database is not.
    #[error("there is no database \"{database}\" at {address}: create it (CREATE DATABASE {database}), or give another --database-url", database = address.database())]
    NoDatabase {
        /// Where it was looked for.
        address: Address,
    },
    /// The server turned the connection down: a wrong password, no rights, TLS, too many connections.
    #[error(
        "the server at {address} refused the connection: {reason}; check the user, the password and sslmode of the URL"
    )]
    Refused {
        /// Who refused.
        address: Address,
        /// In the server's or the driver's words.
        reason: String,
    },
    /// The SQLite file cannot be opened.
    #[error(
        "the SQLite file {path} cannot be opened: {reason}; check that its folder exists and can be written, and give ?mode=rwc to create it"
    )]
    NoFile {
        /// The file.
        path: String,
        /// In SQLite's words.
        reason: String,
    },
}

/// How an accepted connection ends that nobody answers on.
const HUNG_UP: [std::io::ErrorKind; 3] = [
    std::io::ErrorKind::UnexpectedEof,
    std::io::ErrorKind::ConnectionReset,
    std::io::ErrorKind::ConnectionAborted,
];

impl ConnectError {
    pub(crate) fn bad_url(reason: impl Into<String>) -> Self {
        Self::BadUrl { reason: reason.into() }
    }

    /// Sorts what the driver said while it connected.
    pub(crate) fn of(address: &Address, error: &sqlx::Error) -> Self {
        let address = address.clone();
        match error {
            // How rustls says that a certificate is not one to trust.
            sqlx::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Self::Refused { reason: format!("TLS: {e}"), address }
            }
            sqlx::Error::Io(e) if HUNG_UP.contains(&e.kind()) => Self::HungUp { address },
            sqlx::Error::Io(e) => Self::NoServer { address, reason: e.to_string() },
            sqlx::Error::Database(e) if e.code().as_deref() == Some("3D000") => Self::NoDatabase { address },
            sqlx::Error::Database(e) => Self::Refused { reason: e.message().to_owned(), address },
            sqlx::Error::Tls(e) => Self::Refused { reason: format!("TLS: {e}"), address },
            other => Self::Refused { reason: other.to_string(), address },
        }
    }
}

/// The code of an error that a database sent: a five-character SQLSTATE from PostgreSQL and CockroachDB, an
/// extended result code in decimal (`"5"`, `"517"`) from SQLite; `None` where the error is not the database's.
#[must_use]
pub fn sqlstate(error: &DbErr) -> Option<Cow<'_, str>> {
    match driver_error(error)? {
        sqlx::Error::Database(error) => error.code(),
        _ => None,
    }
}

/// What went wrong, in the words of the database or the driver, on one line and without their wrapping.
#[must_use]
pub fn reason(error: &DbErr) -> String {
    let text = match driver_error(error) {
        Some(sqlx::Error::Database(error)) => error.message().to_owned(),
        Some(driver) => driver.to_string(),
        None => error.to_string(),
    };
    text.replace('\n', " ")
}

/// The driver's error, where it is one.
#[must_use]
pub fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e),
        _ => None,
    }
}
