//! Errors of connecting.

use std::io;
use std::time::Duration;

use crate::Address;
use crate::tls::{self, Tls};

/// Why connecting failed: one line that says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("the database URL cannot be used: {reason}")]
    BadUrl {
        /// What is wrong, without the password.
        reason: String,
    },
    /// Nothing listens at the address.
    #[error("no database server answers at {address} ({reason}): start it, or give another --database-url")]
    NoServer {
        /// The address.
        address: Address,
        /// The network's message.
        reason: String,
    },
    /// A connection closed without an answer, as by a load balancer without nodes.
    #[error(
        "the connection to {address} was closed without an answer: behind a load balancer, start a node that is ready; else see the server's log"
    )]
    HungUp {
        /// The address.
        address: Address,
    },
    /// An accepted connection without an answer in time.
    #[error("the server at {address} did not answer within {seconds} s: check that it is up and ready; a cluster needs `cockroach init`, and most of its nodes up", seconds = after.as_secs())]
    TimedOut {
        /// The address.
        address: Address,
        /// The time limit.
        after: Duration,
    },
    /// The database does not exist.
    #[error("there is no database \"{database}\" at {address}: create it (CREATE DATABASE {database}), or give another --database-url", database = address.database())]
    NoDatabase {
        /// The address.
        address: Address,
    },
    /// The server refused the session.
    #[error("the server at {address} refused the connection: {reason}; {advice}")]
    Refused {
        /// The address.
        address: Address,
        /// The server's or the driver's message.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The server's certificate is not trusted. No password was sent.
    #[error("the server at {address} is not trusted: {reason}; {advice}")]
    Untrusted {
        /// The address.
        address: Address,
        /// What is wrong with the certificate.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// The server accepts no more connections (53300).
    #[error(
        "the server at {address} accepts no more connections: {reason}; wait until others disconnect, or raise its limit"
    )]
    Full {
        /// The address.
        address: Address,
        /// The server's message.
        reason: String,
    },
    /// The pooler changes sessions between transactions or statements.
    #[error(
        "the pooler at {address} is in transaction or statement mode, and the bank needs session mode: set pool_mode = session for this database in pgbouncer.ini, or give the host and port of the server itself"
    )]
    Pooled {
        /// The address.
        address: Address,
    },
    /// The pooler drops the URL's `options`.
    #[error(
        "the pooler at {address} drops the URL's options (ignore_startup_parameters): set them for the role instead (ALTER ROLE … SET search_path = …), or give the host and port of the server itself"
    )]
    OptionsLost {
        /// The address.
        address: Address,
    },
    /// The SQLite file is missing, and [`Options::create`](crate::Options::create) forbids creating
    /// it.
    #[error("there is no SQLite file {path}: migrate to create it, or give another --database-url")]
    MissingFile {
        /// The file.
        path: String,
    },
    /// The SQLite file cannot be opened.
    #[error("the SQLite file {path} cannot be opened: {reason}; {advice}")]
    NoFile {
        /// The file.
        path: String,
        /// SQLite's message.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
}

impl ConnectError {
    pub(crate) fn bad_url(reason: impl Into<String>) -> Self {
        Self::BadUrl { reason: reason.into() }
    }

    /// Classifies SQLite's error on opening a file.
    pub(crate) fn of_file(path: String, error: &sqlx::Error) -> Self {
        let database = error.as_database_error();
        let code = database.and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
        // The low byte of an extended code is the primary one.
        let advice = match code.map(|code| code & 0xff) {
            Some(5 | 6) => "another program holds its lock: end that program, or run this again later",
            Some(8) => "let this user write the file and its folder, or give ?mode=ro to read it",
            Some(10) => "check the disk, and that the file system is mounted and not full",
            Some(13) => "free some space on its disk, then run this again",
            Some(11 | 26) => {
                "it is no database, or a damaged one: give another --database-url, or restore it"
            }
            _ => "check that its folder exists and can be written, and give ?mode=rwc to create it",
        };
        let reason = database.map_or_else(|| error.to_string(), |error| error.message().to_owned());
        Self::NoFile { path, reason, advice }
    }

    /// Classifies the driver's error on connecting.
    pub(crate) fn of(address: &Address, tls: &Tls, error: &sqlx::Error) -> Self {
        let refused = |reason: String, advice| Self::Refused { address: address.clone(), reason, advice };
        match error {
            sqlx::Error::Io(e) => match tls::error_of(e) {
                Some(error) => tls::refusal(address, tls, error),
                // The server may close before its TLS alert is read.
                None if tls.has_certificate() && has_hung_up(e) => refused(
                    format!("it closed the connection ({e})"),
                    "check that it accepts the client certificate",
                ),
                None if has_hung_up(e) => Self::HungUp { address: address.clone() },
                None => Self::NoServer { address: address.clone(), reason: e.to_string() },
            },
            sqlx::Error::Database(e) if e.code().as_deref() == Some("3D000") => {
                Self::NoDatabase { address: address.clone() }
            }
            sqlx::Error::Database(e) if e.code().as_deref() == Some("53300") => {
                Self::Full { address: address.clone(), reason: e.message().to_owned() }
            }
            // PgBouncer's. The code alone is ambiguous: CockroachDB uses it for other errors.
            sqlx::Error::Database(e)
                if e.code().as_deref() == Some("08P01") && e.message().contains("startup parameter") =>
            {
                refused(e.message().to_owned(), IGNORE)
            }
            sqlx::Error::Database(e) => {
                refused(e.message().to_owned(), advice(e.code().as_deref().unwrap_or_default(), tls))
            }
            sqlx::Error::Tls(e) => match e.downcast_ref() {
                Some(error) => tls::refusal(address, tls, error),
                None => refused(e.to_string(), NO_TLS),
            },
            other => refused(other.to_string(), OTHER_PROTOCOL),
        }
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The advice for XXC02: since v24.3 CockroachDB throttles a cluster of several nodes after 7 days.
pub const UNLICENSED: &str = "without a licence a cluster of several nodes allows at most five open transactions: install one (SET CLUSTER SETTING enterprise.license = '…'), or give at most --concurrency 4; a single node needs none";

const OTHER_PROTOCOL: &str = "check that PostgreSQL or CockroachDB listens at this host and port";
const IGNORE: &str =
    "name it in ignore_startup_parameters of pgbouncer.ini, or leave it out of the URL and the environment";
const NO_TLS: &str = "enable TLS on the server, or give sslmode=disable if you trust the network";

/// The advice for an SQLSTATE.
fn advice(sqlstate: &str, tls: &Tls) -> &'static str {
    match sqlstate {
        "28P01" => {
            "check the user and the password of the URL; an expired password (VALID UNTIL) gives the same error"
        }
        "42501" => "ask an administrator for the right to connect",
        "0A000" => {
            "a hot standby refuses a role whose default isolation is serializable: ALTER ROLE … RESET default_transaction_isolation"
        }
        "57P03" => "wait until it is ready",
        "XXC02" => UNLICENSED,
        "42704" | "22023" => "check the options of the URL, or of PGOPTIONS",
        _ if tls.is_off() => {
            "check the user and the password; if it asks for TLS, give sslmode=verify-full&sslrootcert=FILE"
        }
        _ if tls.has_certificate() => "check the user, and that the client certificate is this user's",
        _ => {
            "check the user, and that the password is right and has not expired; if it asks for a client certificate, give sslcert=FILE&sslkey=FILE"
        }
    }
}
