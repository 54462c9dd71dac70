//! Transactions of the bank: run by `sea-orm-retry`, counted, and with an error that tells the body's own refusal from the
//! database's.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Database, Server, Watched, reason};
use sea_orm::DbErr;
use sea_orm_retry::{Attempt, Counter, Counts, Ended, Kind, Policy, Tx, Worker};

use super::Panicked;

/// Why a transaction is not known to be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<E> {
    /// The body's own error, after statements that all went well. Nothing is applied.
    #[error("{0}")]
    Body(E),
    /// The database refused, in a way that trying again would not change. Nothing is applied.
    #[error("{}", reason(error))]
    Database {
        /// The first error of the last attempt.
        #[source]
        error: DbErr,
        /// What the body returned for it, where it came from a statement of the body.
        body: Option<E>,
    },
    /// Every attempt failed in a way that trying again might have cured. Nothing is applied.
    #[error("{}", .0.summary())]
    RetriesExhausted(#[source] Ended),
    /// The answer to a COMMIT was lost, and nothing since has shown whether the transaction is applied.
    #[error("{}", .0.summary())]
    Unknown(#[source] Ended),
    /// The program panicked on the way. Nothing has shown whether the transaction is applied.
    #[error("{0}, and it is not known whether this is applied")]
    Panicked(#[source] Panicked),
    /// The run was refused before anything was sent. Nothing is applied.
    #[error("{}", .0.summary())]
    Refused(#[source] Ended),
}

impl<E> Error<E> {
    /// Whether the transaction may be applied, or may still be.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Panicked(_))
    }

    /// The failed attempts, where trying again was to cure it.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Body(_) | Self::Database { .. } | Self::Panicked(_) => &[],
            Self::RetriesExhausted(ended) | Self::Unknown(ended) | Self::Refused(ended) => ended.attempts(),
        }
    }

    /// The database's last error, where there was one.
    pub(crate) fn last(&self) -> Option<&DbErr> {
        match self {
            Self::Database { error, .. } => Some(error),
            other => other.attempts().last().map(|attempt| &attempt.error),
        }
    }
}

/// What a body stopped with: its error, and the database's where that ended the transaction.
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

/// Runs the bank's transactions and counts them. Cloning is cheap; clones count together.
#[derive(Clone)]
pub struct Runner {
    runner: sea_orm_retry::Runner,
    /// Keeps the connection of a worker.
    _worker: Option<Arc<Worker>>,
    server: Server,
    connections_max: Option<u32>,
    counter: Arc<Counter>,
    /// Where a session is asked for that works for long; without it, it is waited for.
    database: Option<Database>,
}

/// How long one statement over whole tables may take, as long as the server says that it is at it.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The methods of `sea_orm_retry::Runner`, with the bank's error.
macro_rules! contracts {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Error`] says for each ending whether anything is applied.
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
    /// A runner on a database, under a policy.
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

    /// The bank's view of any runner on a server, for example one that records what is sent.
    #[must_use]
    pub fn of(runner: sea_orm_retry::Runner, server: Server, connections_max: Option<u32>) -> Self {
        let counter = Arc::<Counter>::default();
        let runner = runner.observed_by(counter.clone());
        Self { runner, _worker: None, server, connections_max, counter, database: None }
    }

    /// The same for one of so many workers that each run one transaction after the other: it keeps its connection. With
    /// more workers than connections none is kept, because others wait for it.
    #[must_use]
    pub fn for_one_of(&self, workers: u32) -> Self {
        if self.connections_max.is_some_and(|connections| workers > connections) {
            return self.clone();
        }
        let mut worker = self.runner.worker();
        Self { runner: worker.runner().clone(), _worker: Some(Arc::new(worker)), ..self.clone() }
    }

    /// The same, whose [`read`](Self::read) reads what was there so long ago.
    #[must_use]
    pub fn reading_as_of(&self, ago: Duration) -> Self {
        let policy = Policy { read_as_of: Some(ago), ..self.runner.policy().clone() };
        Self { runner: self.runner.under(policy), ..self.clone() }
    }

    /// The same, whose runs are tried again for no longer than this.
    #[must_use]
    pub fn within(&self, total_time: Duration) -> Self {
        let policy = self.runner.policy();
        let policy = Policy { total_time: policy.total_time.min(total_time), ..policy.clone() };
        Self { runner: self.runner.under(policy), ..self.clone() }
    }

    /// As [`read`](Self::read), for statements that take as long as they take: another session asks the server every few
    /// seconds whether it is at it. Where it is not the connection is given up, and all is read again on another one.
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
                Err(error) if Instant::now() < until => tracing::warn!(%error, "reading again"),
                Err(error) => return Err(Error::Database { error, body: None }),
            }
        }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }

    /// What all runs so far came to.
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
