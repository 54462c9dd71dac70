//! The loop: attempts, their endings, and the pauses between them.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Server, sqlstate};
use sea_orm::DbErr;
use tracing::Instrument;

use crate::run::{Ending, Failure, Run};
use crate::stats::Stats;
use crate::tx::no_answer;
use crate::{Attempt, Begin, Class, Counts, Earlier, Error, Phase, Policy, Session, Sessions, Tx, Verdict};

const RESTART: &str = "cockroach_restart";

tokio::task_local! {
    /// Set while a body runs, so that a run inside it is seen.
    static IN_BODY: ();
}

/// Runs transaction closures on one database under one [`Policy`]. Cloning is cheap; clones count together.
#[derive(Clone)]
pub struct Runner {
    sessions: Arc<dyn Sessions>,
    policy: Policy,
    stats: Arc<Stats>,
}

/// What a body promises, and so what the runner may do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contract {
    /// Applied at most once because it is never run again after an unknown.
    Once,
    /// Applied at most once because it says so itself.
    Idempotent,
    /// Changes nothing, and reads one snapshot.
    Snapshot,
    /// Changes nothing, and each statement reads its own present: no transaction is begun.
    Autocommit,
}

impl Runner {
    /// A runner on a database, or on any other source of sessions.
    pub fn new(sessions: impl Sessions + 'static, policy: Policy) -> Self {
        Self { sessions: Arc::new(sessions), policy, stats: Arc::default() }
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
    ///   NOTHING`), or, where something must be read first, it locks a row that attempt wrote (`FOR UPDATE`) and then
    ///   looks at the id. A plain read of "not there" proves nothing.
    /// - Where the id is there and is its own, it says [`Earlier::Applied`] and answers from what it finds. Where the id
    ///   is now written, or the lock is held and the id is absent, or the id is another's, it says [`Earlier::Dead`].
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run). After an unknown attempt, an error of the body is reported as failed only where the
    /// body has said [`Earlier::Dead`]; otherwise the run ends with [`Error::Unknown`].
    pub async fn run_idempotent<T, E, F>(&self, name: &'static str, body: F) -> Result<T, Error<E>>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.run_as(name, Contract::Idempotent, body).await
    }

    /// Runs a body that only reads, in one snapshot that neither waits for writers' locks nor takes any: REPEATABLE READ
    /// READ ONLY on PostgreSQL, a fixed time on CockroachDB, a deferred transaction on SQLite.
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
        self.run_as(name, Contract::Autocommit, body).await
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

    async fn attempt<T, E, F>(&self, run: &mut Run, contract: Contract, body: F) -> Ending<T, E>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.stats.counts().attempts += 1;
        self.end_orphan(run).await;
        let how = match contract {
            Contract::Autocommit => None,
            Contract::Snapshot => Some(Begin::Snapshot),
            Contract::Once | Contract::Idempotent if run.orphaned => Some(Begin::WriteOverOrphan),
            Contract::Once | Contract::Idempotent => Some(Begin::Write),
        };
        let savepoint = self.policy.savepoint_restarts.is_some() && contract.writes();
        let (mut session, id) = match self.begin(how.as_ref(), savepoint).await {
            Ok(begun) => begun,
            Err(failure) => return run.ended(failure, None),
        };
        let mut restarts_left = if savepoint { self.policy.savepoint_restarts.unwrap_or(0) } else { 0 };
        loop {
            let tx = Tx::new(self.server(), session, self.policy.answer_deadline, run.unknown.is_some());
            let result = IN_BODY.scope((), body.clone()(&tx)).await;
            let record;
            (session, record) = tx.into_parts();
            if record.earlier == Some(Earlier::Dead) {
                run.unknown = None;
            }
            let (failure, refused_body) = match (result, record.failure) {
                (Ok(value), None) => match self.commit(session.as_mut(), how.as_ref(), savepoint).await {
                    Ok(()) => {
                        session.release();
                        return Ending::Applied(value);
                    }
                    // This attempt had nothing to apply, so the answer to its COMMIT decides nothing.
                    Err(_) if record.earlier == Some(Earlier::Applied) || !contract.writes() => {
                        return Ending::Applied(value);
                    }
                    Err(failure) if failure.verdict() == Verdict::Committed => {
                        tracing::warn!(error = %failure.error, "applied, with an error after the commit");
                        return Ending::Applied(value);
                    }
                    Err(failure) => (failure, None),
                },
                (Err(error), None) => {
                    self.end(session, how.is_none()).await;
                    return Ending::Failed(Error::Body(error));
                }
                (result, Some((error, class))) => {
                    (Failure { phase: Phase::Body, error, class }, result.err())
                }
            };
            match failure.verdict() {
                Verdict::Retry if restarts_left > 0 => {
                    restarts_left -= 1;
                    self.stats.retry(&failure.error, Duration::ZERO);
                    tracing::warn!(
                        sqlstate = sqlstate(&failure.error).as_deref(),
                        "restarting from the savepoint"
                    );
                    run.failed.push(failure);
                    if let Err(failure) = self
                        .control(session.as_mut(), Phase::RollbackTo, "ROLLBACK TO SAVEPOINT", RESTART)
                        .await
                    {
                        run.orphan_left(id);
                        return run.ended(failure, None);
                    }
                    continue;
                }
                Verdict::RetryOnNewConnection | Verdict::Unknown => {
                    drop(session);
                    run.orphan_left(id);
                }
                Verdict::Retry | Verdict::Fail | Verdict::Committed => {
                    self.end(session, how.is_none() || self.ended_by_failed_commit(failure.phase, savepoint))
                        .await;
                }
            }
            return run.ended(failure, refused_body);
        }
    }

    /// Takes a connection and begins; with the savepoint where the policy asks for it.
    async fn begin(
        &self,
        how: Option<&Begin>,
        savepoint: bool,
    ) -> Result<(Box<dyn Session>, Option<String>), Failure> {
        let mut session = self.answer(Phase::Begin, self.sessions.acquire()).await?;
        let Some(how) = how else { return Ok((session, None)) };
        let id = self.answer(Phase::Begin, session.begin(how)).await?;
        if savepoint {
            self.control(session.as_mut(), Phase::Begin, "SAVEPOINT", RESTART).await?;
        }
        Ok((session, id))
    }

    /// COMMIT; or RELEASE, which commits, and then COMMIT, which only ends. After a failed RELEASE no COMMIT is sent:
    /// it would "succeed" and mean a rollback.
    async fn commit(
        &self,
        session: &mut dyn Session,
        how: Option<&Begin>,
        savepoint: bool,
    ) -> Result<(), Failure> {
        match (how, savepoint) {
            (None, _) => Ok(()),
            (Some(_), false) => self.control(session, Phase::Commit, "COMMIT", "").await,
            (Some(_), true) => {
                self.control(session, Phase::Commit, "RELEASE SAVEPOINT", RESTART).await?;
                self.control(session, Phase::CommitAfterRelease, "COMMIT", "").await
            }
        }
    }

    /// A failed COMMIT has ended the transaction on PostgreSQL and CockroachDB, and one ROLLBACK more is answered by
    /// CockroachDB with an error; on SQLite, and after a failed RELEASE, it is still open.
    fn ended_by_failed_commit(&self, phase: Phase, savepoint: bool) -> bool {
        phase == Phase::Commit && !savepoint && self.server() != Server::Sqlite
    }

    /// Gives the connection back, after a ROLLBACK where a transaction is still open.
    async fn end(&self, session: Box<dyn Session>, over: bool) {
        if over {
            session.release();
        } else {
            self.rollback(session).await;
        }
    }

    /// ROLLBACK, before anything else is done: locks are never held through a pause. Where it fails the connection is dropped.
    async fn rollback(&self, mut session: Box<dyn Session>) {
        match self.control(session.as_mut(), Phase::RollbackTo, "ROLLBACK", "").await {
            Ok(()) => session.release(),
            Err(failure) => {
                tracing::debug!(error = %failure.error, "ROLLBACK failed, the connection is dropped")
            }
        }
    }

    async fn control(
        &self,
        session: &mut dyn Session,
        phase: Phase,
        verb: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let sql = format!("{verb} {name}");
        self.answer(phase, session.control(sql.trim_end())).await
    }

    /// Waits for one answer of the server, as long as the policy allows.
    async fn answer<T>(
        &self,
        phase: Phase,
        asked: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.policy.answer_deadline, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure { phase, class: Class::of(&error), error }),
            Err(_) => {
                Err(Failure { phase, class: Class::Lost, error: no_answer(self.policy.answer_deadline) })
            }
        }
    }

    /// Ends the session that the last attempt may have left open, so that this attempt does not wait for its locks.
    async fn end_orphan(&self, run: &mut Run) {
        if let Some(orphan) = run.orphan.take()
            && let Err(failure) = self.answer(Phase::Begin, self.sessions.end_orphan(&orphan)).await
        {
            tracing::debug!(error = %failure.error, "the session of the lost attempt could not be ended");
        }
    }

    /// Waits before the next attempt; says whether there is to be one.
    async fn pause(&self, run: &Run) -> bool {
        let Some(Attempt { phase, error }) = run.failed.0.last() else { return true };
        let attempts = u32::try_from(run.failed.0.len()).unwrap_or(u32::MAX);
        let pause = self.policy.pause(attempts);
        if attempts >= self.policy.attempts_max || run.started.elapsed() + pause > self.policy.total_time {
            return false;
        }
        tracing::warn!(attempt = attempts, sqlstate = sqlstate(error).as_deref(), ?phase, ?pause, %error, "retrying");
        self.stats.retry(error, pause);
        tokio::time::sleep(pause).await;
        true
    }
}

impl Contract {
    fn writes(self) -> bool {
        matches!(self, Self::Once | Self::Idempotent)
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
