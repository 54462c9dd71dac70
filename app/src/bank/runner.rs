//! The bank's transactions: retried by `sea-orm-retry`, counted, with the bank's error type.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Database, Parameters, Server, Watched, reason};
use sea_orm::DbErr;
use sea_orm_retry::{Attempt, Ended, Kind, Policy, Tx};

use super::Panicked;
use super::counter::{Counter, Counts};

/// Why a transaction is not known to be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<E> {
    /// The body's own error, without a failed statement. Nothing is applied.
    #[error("{0}")]
    Body(E),
    /// The database's error, which a retry would not cure. Nothing is applied.
    #[error("{}", reason(error))]
    Database {
        /// The first error of the last attempt.
        #[source]
        error: DbErr,
        /// What the body returned for it, if a statement of the body failed.
        body: Option<E>,
    },
    /// Every attempt failed, and the retry budget is spent. Nothing is applied.
    #[error("{}", .0.summary())]
    RetriesExhausted(#[source] Ended),
    /// The commit is ambiguous: its answer was lost, and no retry has resolved it.
    #[error("{}", .0.summary())]
    Unknown(#[source] Ended),
    /// The program panicked. Nothing shows whether the transaction is applied.
    #[error("{0}, and it is not known whether this is applied")]
    Panicked(#[source] Panicked),
    /// Refused before anything was sent. Nothing is applied.
    #[error("{}", .0.summary())]
    Refused(#[source] Ended),
}

impl<E> Error<E> {
    /// Whether the transaction is or may become applied.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Panicked(_))
    }

    /// The failed attempts, if they were retried.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Body(_) | Self::Database { .. } | Self::Panicked(_) => &[],
            Self::RetriesExhausted(ended) | Self::Unknown(ended) | Self::Refused(ended) => ended.attempts(),
        }
    }

    pub(crate) fn last(&self) -> Option<&DbErr> {
        match self {
            Self::Database { error, .. } => Some(error),
            other => other.attempts().last().map(|attempt| &attempt.error),
        }
    }
}

/// Why a body stopped: its error, and the database's if a statement failed.
#[derive(Debug)]
enum Stop<E> {
    Body(E, Option<DbErr>),
    Ended(Ended),
}

impl<E> From<Ended> for Stop<E> {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl<E: Display> Display for Stop<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body(error, _) => error.fmt(f),
            Self::Ended(ended) => ended.fmt(f),
        }
    }
}

impl<E> From<Stop<E>> for Error<E> {
    fn from(stop: Stop<E>) -> Self {
        match stop {
            Stop::Body(error, None) => Self::Body(error),
            Stop::Body(body, Some(error)) => Self::Database { error, body: Some(body) },
            Stop::Ended(ended) => match ended.kind() {
                Kind::Refused => Self::Refused(ended),
                Kind::Failed => Self::Database { error: ended.first().clone(), body: None },
                Kind::RetriesExhausted => Self::RetriesExhausted(ended),
                Kind::Unknown => Self::Unknown(ended),
            },
        }
    }
}

/// Runs and counts the bank's transactions. Clones share the counts.
#[derive(Clone)]
pub struct Runner {
    runner: sea_orm_retry::Runner,
    server: Server,
    connections_max: Option<u32>,
    counter: Arc<Counter>,
    /// For the session that watches long statements; without it nothing watches.
    database: Option<Database>,
}

/// The limit of a statement over whole tables, while the server works on it.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The methods of `sea_orm_retry::Runner` with the bank's error.
macro_rules! contracts {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Error`] says for each variant whether anything is applied.
        pub async fn $name<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
        where
            E: Display,
            F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
        {
            let body = async move |tx: &Tx| body(tx).await.map_err(|error| Stop::Body(error, tx.failure()));
            self.runner.$name(name, body).await.map_err(Error::from)
        }
    )*};
}

impl Runner {
    /// A runner on a database.
    #[must_use]
    pub fn new(database: &Database, policy: Policy) -> Self {
        let connections = match database.server {
            Server::Sqlite => {
                database.connection.get_sqlite_connection_pool().options().get_max_connections()
            }
            Server::Postgres | Server::Cockroach => {
                database.connection.get_postgres_connection_pool().options().get_max_connections()
            }
        };
        let runner = sea_orm_retry::Runner::new(&database.connection, policy);
        Self { database: Some(database.clone()), ..Self::of(runner, database.server, Some(connections)) }
    }

    /// A runner for the bank on any `sea_orm_retry::Runner`, such as one that records statements.
    #[must_use]
    pub fn of(runner: sea_orm_retry::Runner, server: Server, connections_max: Option<u32>) -> Self {
        let counter = Arc::<Counter>::default();
        let runner = runner.observed_by(counter.clone()).observed_by(Arc::new(Parameters));
        Self { runner, server, connections_max, counter, database: None }
    }

    /// The same runner for one of `workers` sequential workers. It keeps its connection, unless
    /// workers outnumber connections.
    #[must_use]
    pub fn worker_among(&self, workers: u32) -> Self {
        if self.connections_max.is_some_and(|connections| workers > connections) {
            return self.clone();
        }
        Self { runner: self.runner.worker(), ..self.clone() }
    }

    /// The same runner, whose [`read`](Self::read) reads a snapshot of this age.
    #[must_use]
    pub fn reading_as_of(&self, ago: Duration) -> Self {
        let policy = Policy { read_as_of: Some(ago), ..self.runner.policy().clone() };
        Self { runner: self.runner.under(policy), ..self.clone() }
    }

    /// The same runner with a shorter retry budget.
    #[must_use]
    pub fn within(&self, total_time: Duration) -> Self {
        let policy = self.runner.policy();
        let policy = Policy { total_time: policy.total_time.min(total_time), ..policy.clone() };
        Self { runner: self.runner.under(policy), ..self.clone() }
    }

    /// As [`read`](Self::read), without a statement timeout. Another session checks that the server
    /// works on the statement; otherwise the read starts over on a new connection.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_for_long<T, F>(&self, name: &'static str, body: F) -> Result<T, Error<DbErr>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, DbErr> + Clone,
    {
        let policy = Policy { answer_deadline: LONG, ..self.runner.policy().clone() };
        let until = Instant::now() + policy.total_time;
        let patient = Self { runner: self.runner.under(policy), ..self.clone() };
        let Some(database) = &self.database else { return patient.read(name, body).await };
        loop {
            let session = Watched::default();
            let noted = async |tx: &Tx| {
                session.note(tx, self.server).await?;
                (body.clone())(tx).await
            };
            match database.watch(&session, patient.read(name, noted)).await {
                Ok(read) => return read,
                Err(error) if Instant::now() < until => tracing::warn!(%error, "the read starts over"),
                Err(error) => return Err(Error::Database { error, body: None }),
            }
        }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }

    /// The counts of all runs so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counter.counts()
    }

    contracts! {
        /// As `sea_orm_retry::Runner::run`.
        run
        /// As `sea_orm_retry::Runner::run_idempotent`.
        run_idempotent
        /// As `sea_orm_retry::Runner::read`.
        read
        /// As `sea_orm_retry::Runner::query`.
        query
        /// As `sea_orm_retry::Runner::statement`.
        statement
    }
}
