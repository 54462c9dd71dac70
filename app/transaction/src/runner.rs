//! The loop: attempts, their endings, and the pauses between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::{Database, Server, sqlstate};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tracing::Instrument;

use crate::keep::Keeping;
use crate::run::{Ending, Run};
use crate::stats::Stats;
use crate::{Attempt, Counts, Error, Policy, Sessions, Tx};

tokio::task_local! {
    /// Set while a body runs, so that a run inside it is seen.
    pub(crate) static IN_BODY: ();
}

/// Runs transaction closures on one database under one [`Policy`]. Cloning is cheap; clones count together.
#[derive(Clone)]
pub struct Runner {
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) policy: Policy,
    pub(crate) stats: Arc<Stats>,
    jitter: Arc<Mutex<ChaCha8Rng>>,
}

/// What a body promises, and so what the runner may do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    /// Applied at most once because it is never run again after an unknown.
    Once,
    /// Applied at most once because it says so itself.
    Idempotent,
    /// Changes nothing, and reads one snapshot.
    Snapshot,
    /// Changes nothing, and each statement reads its own present: no transaction is begun.
    Query,
    /// Idempotent, and all of it is its first statement: no transaction is begun.
    Statement,
}

impl Contract {
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Once | Self::Idempotent | Self::Statement)
    }

    /// Whether it finds out by itself what became of an earlier attempt.
    pub(crate) fn is_idempotent(self) -> bool {
        matches!(self, Self::Idempotent | Self::Statement)
    }
}

impl Runner {
    /// A runner on a database, or on any other source of sessions.
    pub fn new(sessions: impl Sessions + 'static, policy: Policy) -> Self {
        let jitter = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(rand::random())));
        Self { sessions: Arc::new(sessions), policy, stats: Arc::default(), jitter }
    }

    /// The same, with pauses that a seed decides: for simulations, which have to be repeatable.
    #[must_use]
    pub fn with_jitter_seed(self, seed: u64) -> Self {
        Self { jitter: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))), ..self }
    }

    /// The same, for one worker of so many that each run one transaction after the other. It keeps its connection from one to
    /// the next, which spares it a round trip: the pool looks at every connection that comes back. Every half minute, and
    /// with the last clone of this runner, the connection goes back nevertheless. Where there are more workers than connections
    /// none is kept, for others wait for it.
    #[must_use]
    pub fn for_one_of(&self, workers: u32) -> Self {
        let enough = self.sessions.connections_max().is_none_or(|connections| workers <= connections);
        if !enough {
            return self.clone();
        }
        Self { sessions: Arc::new(Keeping::new(Arc::clone(&self.sessions))), ..self.clone() }
    }

    /// The same, whose [`read`](Self::read) reads what was there so long ago.
    #[must_use]
    pub fn reading_as_of(&self, ago: Duration) -> Self {
        let mut runner = self.clone();
        runner.policy.read_as_of = Some(ago);
        runner
    }

    /// What all runs so far came to.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.stats.counts().clone()
    }

    /// Which server answers.
    #[must_use]
    pub fn server(&self) -> Server {
        self.sessions.server()
    }

    /// Runs `body` in a SERIALIZABLE transaction, again and again until it commits or cannot. `name` stands in logs.
    ///
    /// The body is cloned for each attempt: every attempt starts from the same captured state, and what one attempt
    /// learns it can only return. Once the answer to a COMMIT is lost this ends with [`Error::Unknown`], for running
    /// the body again might apply it twice. See [`run_idempotent`](Self::run_idempotent) for bodies that can tell.
    ///
    /// A body that captures by `&mut` does not compile, for a second attempt would start from what the first left:
    ///
    /// ```compile_fail,E0277
    /// # async fn f(runner: &transaction::Runner) {
    /// let mut sum = 0;
    /// let counted = runner.run("count", async |_: &transaction::Tx| -> Result<(), sea_orm::DbErr> {
    ///     sum += 1;
    ///     Ok(())
    /// });
    /// # counted.await.ok();
    /// # }
    /// ```
    ///
    /// ```
    /// # async fn f(runner: &transaction::Runner) {
    /// let sum = 0;
    /// let counted = runner.run("count", async |_: &transaction::Tx| -> Result<i32, sea_orm::DbErr> {
    ///     Ok(sum + 1)
    /// });
    /// # counted.await.ok();
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`] says for each ending whether anything is applied.
    pub async fn run<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Once, body).await
    }

    /// Runs a body that may be run again after an unknown COMMIT, because it finds out by itself what became of it.
    ///
    /// The body's contract:
    ///
    /// - Everything that tells its attempts apart from others' (an id, the rows it touches, every random draw) is fixed
    ///   before the run, outside the body.
    /// - Its first statement collides with its own earlier attempt: it writes its own id (`INSERT … ON CONFLICT DO
    ///   NOTHING`, or a plain INSERT until [`Tx::key_taken`]), or, where something must be read first, it locks a row that
    ///   attempt wrote (`FOR UPDATE`) and then looks at the id. A plain read of "not there" proves nothing.
    /// - Where the id is there and is its own, it says [`Earlier::Applied`](crate::Earlier::Applied) and answers from
    ///   what it finds. Where the id is now written, or the lock is held and the id is absent, or the id is another's,
    ///   it says [`Earlier::Dead`](crate::Earlier::Dead).
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run). After an unknown attempt, an error of the body is reported as failed only where the
    /// body has said [`Earlier::Dead`](crate::Earlier::Dead); otherwise the run ends with [`Error::Unknown`].
    pub async fn run_idempotent<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Idempotent, body).await
    }

    /// Runs a body that only reads, in one snapshot that neither waits for writers' locks nor takes any: REPEATABLE READ
    /// READ ONLY on PostgreSQL, a fixed time on CockroachDB (the present, or as [`Policy::read_as_of`] says), a deferred
    /// transaction on SQLite.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), but never [`Error::Unknown`].
    pub async fn read<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Snapshot, body).await
    }

    /// Runs a body that only reads, outside any transaction: each statement sees its own present, in one round trip.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), but never [`Error::Unknown`].
    pub async fn query<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Query, body).await
    }

    /// Runs a transaction that is one autocommitted statement, the first of `body`: one round trip, and no BEGIN or COMMIT.
    ///
    /// The body keeps the contract of [`run_idempotent`](Self::run_idempotent) with that statement, which changes
    /// everything the transaction is to change, or nothing. Where its answer leaves open which, later statements only
    /// look that up; then the body says [`Earlier::Applied`](crate::Earlier::Applied), or
    /// [`Earlier::Dead`](crate::Earlier::Dead) where this attempt has changed nothing.
    ///
    /// Of an earlier attempt that proves nothing, other than inside a transaction: a statement that is late on its way
    /// holds no lock yet, and may be carried out after it was looked for. Only an id that is written keeps it out.
    ///
    /// # Errors
    ///
    /// As for [`run_idempotent`](Self::run_idempotent). A statement that timed out on the server may be applied
    /// nevertheless, so it is run again and its id asked. After an attempt that ended unknown, a refusal of the body is
    /// [`Error::Unknown`].
    pub async fn statement<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Statement, body).await
    }

    async fn run_as<T, E, F>(&self, name: &'static str, contract: Contract, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        if IN_BODY.try_with(|()| ()).is_ok() {
            return Err(Error::Nested);
        }
        if self.policy.savepoint_restarts.is_some() && self.server() != Server::Cockroach {
            return Err(Error::SavepointUnsupported);
        }
        if self.policy.read_as_of.is_some() && self.server() != Server::Cockroach {
            return Err(Error::PastUnsupported);
        }
        self.stats.counts().transactions += 1;
        self.attempts(contract, body).instrument(tracing::info_span!("transaction", name)).await
    }

    async fn attempts<T, E, F>(&self, contract: Contract, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        let mut run = Run::new();
        loop {
            let ending = self.attempt(&mut run, contract, body.clone()).await;
            tracing::debug!(failed_attempts = run.failed.0.len(), outcome = ending.name(), "attempt ended");
            match ending {
                Ending::Applied(value) => return Ok(value),
                Ending::Failed(error) if run.unknown.is_none() => return Err(error),
                Ending::Failed(_) => break,
                Ending::Unknown if contract == Contract::Once => break,
                Ending::Unknown | Ending::Again => {}
            }
            if !self.pause(&run).await {
                break;
            }
        }
        let error = run.into_error();
        if matches!(error, Error::Unknown { .. }) {
            self.stats.counts().unknown += 1;
        }
        Err(error)
    }

    /// Waits before the next attempt; says whether there is to be one.
    async fn pause(&self, run: &Run) -> bool {
        let Some(Attempt { phase, error, .. }) = run.failed.0.last() else { return true };
        let attempts = u32::try_from(run.failed.0.len()).unwrap_or(u32::MAX);
        let pause =
            self.policy.pause(attempts, &mut *self.jitter.lock().unwrap_or_else(PoisonError::into_inner));
        if attempts >= self.policy.attempts_max || run.elapsed() + pause > self.policy.total_time {
            return false;
        }
        tracing::warn!(attempt = attempts, sqlstate = sqlstate(error).as_deref(), ?phase, ?pause, %error, "retrying");
        self.stats.retry(error, pause);
        tokio::time::sleep(pause).await;
        true
    }
}

/// Runs `body` once on `database` under the default [`Policy`]; see [`Runner::run`].
///
/// # Errors
///
/// As [`Runner::run`].
pub async fn run<T, E, F>(database: &Database, name: &'static str, body: F) -> Result<T, Error<E>>
where
    F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
{
    Runner::new(database.clone(), Policy::default()).run(name, body).await
}
