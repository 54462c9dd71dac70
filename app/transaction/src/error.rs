//! How a run can end other than well. Each ending says whether anything is applied.

use std::fmt;

use database::sqlstate;
use sea_orm::DbErr;

use crate::{Class, Phase};

/// Why a transaction is not known to be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The body's own error, after statements that all went well. Nothing is applied.
    #[error("{0}")]
    Body(E),
    /// The database refused, in a way that trying again would not change. Nothing is applied.
    #[error("{error}{attempts}")]
    Database {
        /// The first error of the last attempt.
        #[source]
        error: DbErr,
        /// What the body made of it, where it came from a statement of the body and the body returned an error.
        body: Option<E>,
        /// What came before.
        attempts: Attempts,
    },
    /// Every attempt failed in a way that trying again might have cured. Nothing is applied.
    #[error("given up: {first}{attempts}")]
    RetriesExhausted {
        /// The first error of the first attempt.
        #[source]
        first: DbErr,
        /// All of them.
        attempts: Attempts,
    },
    /// The answer to a COMMIT was lost, and nobody could find out since: the transaction may be applied, or may be yet.
    #[error("it is not known whether the transaction is applied: {first}{attempts}")]
    Unknown {
        /// The error that made it unknown.
        #[source]
        first: DbErr,
        /// All of them.
        attempts: Attempts,
    },
    /// A run inside the body of a run, which would be a second transaction and not part of the first. Nothing is applied.
    #[error("a transaction was run inside the body of another: use the Tx at hand")]
    Nested,
    /// The policy asks for CockroachDB's savepoint protocol on a server where releasing a savepoint commits nothing.
    #[error("savepoint restarts are CockroachDB's: leave them out on this server")]
    SavepointUnsupported,
    /// The policy asks for snapshots of the past on a server that keeps none.
    #[error("reading the past is CockroachDB's: leave it out on this server")]
    PastUnsupported,
}

impl<E> Error<E> {
    /// The body's error, whether it is its own or what it made of the database's.
    #[must_use]
    pub fn body(&self) -> Option<&E> {
        match self {
            Self::Body(error) => Some(error),
            Self::Database { body, .. } => body.as_ref(),
            Self::RetriesExhausted { .. }
            | Self::Unknown { .. }
            | Self::Nested
            | Self::SavepointUnsupported
            | Self::PastUnsupported => None,
        }
    }

    /// What was tried, where something was.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Database { attempts, .. }
            | Self::RetriesExhausted { attempts, .. }
            | Self::Unknown { attempts, .. } => &attempts.0,
            Self::Body(_) | Self::Nested | Self::SavepointUnsupported | Self::PastUnsupported => &[],
        }
    }
}

/// The failed attempts of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Attempts(pub Vec<Attempt>);

/// One failed attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What the runner was doing.
    pub phase: Phase,
    /// The first error of the attempt.
    pub error: DbErr,
    /// What it means.
    pub class: Class,
}

impl fmt::Display for Attempts {
    /// Nothing for one attempt; otherwise their number and codes, as in ` (3 attempts: 40001, 40001, 08006)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        if self.0.len() < 2 {
            return Ok(());
        }
        write!(f, " ({} attempts: ", self.0.len())?;
        for (n, attempt) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", sqlstate(&attempt.error).as_deref().unwrap_or("no answer"))?;
        }
        f.write_str(if self.0.len() > SHOWN { ", …)" } else { ")" })
    }
}
