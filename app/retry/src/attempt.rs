//! One attempt: a connection, BEGIN, the body, COMMIT, and the way out of each when it fails.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;

use crate::begin::begin;
use crate::record::{Proof, Record};
use crate::runner::{Bodies, Contract, Runner};
use crate::server::Version;
use crate::shared::{Shared, no_answer};
use crate::state::{Ending, Failure, Run};
use crate::{Class, Id, Phase, Server, Session, Tx, Verdict, decide};

const RESTART: &str = "cockroach_restart";

/// Writes to PostgreSQL's log, so that the COMMIT after it waits for the standbys that the found transaction waited for.
const WAIT_FOR_STANDBYS: &str = "SELECT pg_logical_emit_message(true, 'sea-orm-retry', '')";

/// How the transaction of an attempt is framed.
#[derive(Clone, Copy)]
struct Frame {
    version: Version,
    contract: Contract,
    /// Whether anything can be written.
    writes: bool,
    /// Whether there is a BEGIN; otherwise each statement is a transaction of its own.
    begun: bool,
    /// CockroachDB's protocol, whose commit is the release of a savepoint: how often the body is restarted from it.
    restarts: Option<u32>,
    id: Option<Id>,
}

/// What one execution of the body came to.
enum Step<T, E> {
    Applied(T),
    /// The body's own error, after statements that all went well.
    Own(E),
    /// A failed statement or COMMIT, what it means, and what the body returned for it.
    Failed(Failure, Verdict, Option<E>),
}

impl Runner {
    /// Begins, runs the body and commits; decides what a failure means, and what becomes of the connection.
    pub(crate) async fn attempt<T, E, F>(&self, run: &mut Run, contract: Contract, body: F) -> Ending<T, E>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        run.number += 1;
        self.end_orphans(run).await;
        let (mut session, frame) = match self.begin(run, contract).await {
            Ok(begun) => begun,
            Err(failure) => {
                let server = self.source.version().map_or(Server::Postgres, |version| version.server);
                let verdict = decide(server, failure.phase, failure.class);
                return run.ended(verdict, failure, None, contract.is_idempotent());
            }
        };
        let mut restarts_left = frame.restarts.unwrap_or(0);
        loop {
            let (slot, close, step) = self.execute(run, session, &frame, body.clone()).await;
            let (failure, verdict, refused) = match step {
                Step::Applied(value) => {
                    self.give_back(slot, close);
                    return Ending::Applied(value);
                }
                Step::Own(error) => {
                    self.end(slot, close, frame.begun).await;
                    return Ending::Failed(Some(error));
                }
                Step::Failed(failure, verdict, refused) => (failure, verdict, refused),
            };
            match (verdict, slot) {
                (Verdict::Retry, Some(mut used))
                    if restarts_left > 0 && run.may_go_on(&self.policy, Duration::ZERO) =>
                {
                    restarts_left -= 1;
                    if let Err(failure) = self.restart(run, used.as_mut(), failure).await {
                        drop(used);
                        run.orphan_left(frame.id);
                        return run.ended(
                            Verdict::RetryOnNewConnection,
                            failure,
                            None,
                            contract.is_idempotent(),
                        );
                    }
                    session = used;
                    continue;
                }
                (Verdict::RetryWithoutPlans, Some(used)) => {
                    return self.without_plans(run, used, &frame, failure, refused).await;
                }
                (Verdict::RetryOnNewConnection | Verdict::Unknown, used) => {
                    drop(used);
                    run.orphan_left(frame.id);
                }
                (_, slot) => {
                    let close = close || failure.class == Class::Driver;
                    self.end(slot, close, is_open_after(failure.phase, &frame)).await;
                }
            }
            return run.ended(verdict, failure, refused, contract.is_idempotent());
        }
    }

    /// Runs the body once and commits. Returns the connection unless it is gone, and whether it has to be closed.
    async fn execute<T, E, F>(
        &self,
        run: &mut Run,
        session: Box<dyn Session>,
        frame: &Frame,
        body: F,
    ) -> (Option<Box<dyn Session>>, bool, Step<T, E>)
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E>,
    {
        let deadline = self.policy.answer_deadline;
        let shared =
            Shared::new(frame.version, frame.contract, frame.writes, deadline, run.before(), session);
        let tx = Tx::new(Arc::new(shared), 0);
        let result = Bodies::enter(self.source.identity(), body(&tx)).await;
        let (mut slot, mut record) = tx.shared().finish().await;
        if record.proof == Some(Proof::NotApplied) && frame.contract != Contract::Statement {
            run.unknown = None;
        }
        let failed = |phase, error, class, body| {
            let failure = Failure { phase, error, class };
            let verdict = frame.decide(&failure);
            Step::Failed(failure, verdict, body)
        };
        let step = match (result, record.failure.take(), slot.as_mut()) {
            (result, Some((error, class)), _) => {
                failed(frame.contract.phase_of_body(record.answered), error, class, result.err())
            }
            (Err(error), None, _) => match record.undone.take() {
                Some((first, Class::Duplicate)) => failed(Phase::Body, first, Class::Duplicate, Some(error)),
                _ => {
                    if frame.contract == Contract::Statement && record.may_have_changed() {
                        run.unknown.get_or_insert(unsettled());
                    }
                    Step::Own(error)
                }
            },
            (Ok(_), None, None) => failed(Phase::Body, no_answer(deadline), Class::Lost, None),
            (Ok(value), None, Some(session)) => {
                match self.commit(session.as_mut(), frame, record.proof).await {
                    Ok(()) => Step::Applied(value),
                    Err(failure) => match frame.decide(&failure) {
                        Verdict::Committed => {
                            tracing::warn!(error = %failure.error, "applied, with an error after the commit");
                            // Nobody knows what is left open on this connection.
                            slot = None;
                            Step::Applied(value)
                        }
                        // What was found is applied, but nobody has acknowledged it to this run.
                        _ if record.proof == Some(Proof::Applied) => {
                            Step::Failed(failure, Verdict::Unknown, None)
                        }
                        verdict => Step::Failed(failure, verdict, None),
                    },
                }
            }
        };
        (slot, record.session_changed, step)
    }

    /// Takes a connection and begins; with the savepoint where the policy asks for it.
    async fn begin(&self, run: &mut Run, contract: Contract) -> Result<(Box<dyn Session>, Frame), Failure> {
        let within = self.time_to_begin(run);
        let mut session = match run.kept.take() {
            Some(kept) => kept,
            None => answer(Phase::Begin, within, self.source.acquire(self.policy.unnamed_statements)).await?,
        };
        let version = match self.source.version() {
            Some(version) => version,
            None => self.source.learn(&answer(Phase::Begin, within, session.version()).await?),
        };
        if let Some(why) = self.policy.unsupported(version.server) {
            self.source.release(session, false);
            run.unsupported = true;
            return Err(Failure {
                phase: Phase::Begin,
                error: DbErr::Custom(why.to_owned()),
                class: Class::Other,
            });
        }
        let how = begin(version, &self.policy, contract, run.orphaned);
        let writes = contract.writes() && !self.policy.read_only;
        let restarts = self.policy.restarts(version.server, run.lost());
        let restarts = restarts.filter(|_| writes && contract.is_transaction());
        let mut frame = Frame { version, contract, writes, begun: how.is_some(), restarts, id: None };
        if let Some(how) = &how {
            frame.id = answer(Phase::Begin, within, session.begin(how)).await?;
        }
        if restarts.is_some() {
            self.control(session.as_mut(), Phase::Begin, &format!("SAVEPOINT {RESTART}")).await?;
        }
        Ok((session, frame))
    }

    /// Beginning does not wait longer than the run may take: so far there is nothing to lose.
    fn time_to_begin(&self, run: &Run) -> Duration {
        self.policy.answer_deadline.min(self.policy.total_time.saturating_sub(run.elapsed()))
    }

    /// COMMIT; or RELEASE, which commits, and then COMMIT, which only ends. After a failed RELEASE no COMMIT is sent:
    /// it would "succeed" and mean a rollback.
    async fn commit(
        &self,
        session: &mut dyn Session,
        frame: &Frame,
        proof: Option<Proof>,
    ) -> Result<(), Failure> {
        let waits = proof == Some(Proof::Applied) && frame.version.server == Server::Postgres;
        if !frame.begun {
            return if waits {
                self.control(session, Phase::LookUp, WAIT_FOR_STANDBYS).await
            } else {
                Ok(())
            };
        }
        // Where nothing can be written the answer to COMMIT decides no more than any other.
        let phase = if frame.writes { Phase::Commit } else { Phase::Body };
        if frame.restarts.is_some() {
            self.control(session, Phase::Commit, &format!("RELEASE SAVEPOINT {RESTART}")).await?;
            return self.control(session, Phase::CommitAfterRelease, "COMMIT").await;
        }
        let sql = if waits { format!("{WAIT_FOR_STANDBYS}; COMMIT") } else { "COMMIT".to_owned() };
        self.control(session, phase, &sql).await
    }

    /// Back to the savepoint at once, keeping the transaction's place among its rivals.
    async fn restart(
        &self,
        run: &mut Run,
        session: &mut dyn Session,
        failure: Failure,
    ) -> Result<(), Failure> {
        tracing::debug!(attempt = run.number, error = %failure.error, "restarting from the savepoint");
        let failed_before = run.failed.len();
        run.push(failure);
        self.tell_attempt(run, failed_before, Some(Duration::ZERO));
        run.number += 1;
        self.control(session, Phase::RollbackTo, &format!("ROLLBACK TO SAVEPOINT {RESTART}")).await
    }

    /// Clears the prepared statements and keeps this connection for the next attempt: an idle one of the pool is as stale.
    async fn without_plans<T, E>(
        &self,
        run: &mut Run,
        mut session: Box<dyn Session>,
        frame: &Frame,
        failure: Failure,
        body: Option<E>,
    ) -> Ending<T, E> {
        if !run.may_clear_plans() {
            self.end(Some(session), false, frame.begun).await;
            return run.ended(Verdict::Fail, failure, body, frame.contract.is_idempotent());
        }
        let cleared = async {
            if frame.begun {
                self.control(session.as_mut(), Phase::RollbackTo, "ROLLBACK").await?;
            }
            answer(Phase::RollbackTo, self.policy.answer_deadline, session.forget_statements()).await
        };
        if cleared.await.is_ok() {
            run.kept = Some(session);
        }
        run.ended(Verdict::RetryWithoutPlans, failure, body, frame.contract.is_idempotent())
    }

    /// Gives the connection back, after a ROLLBACK where a transaction is still open: locks are never held through a
    /// pause. Where that fails the connection is dropped.
    async fn end(&self, slot: Option<Box<dyn Session>>, close: bool, open: bool) {
        let Some(mut session) = slot else { return };
        if open && let Err(failure) = self.control(session.as_mut(), Phase::RollbackTo, "ROLLBACK").await {
            tracing::debug!(error = %failure.error, "ROLLBACK failed, the connection is dropped");
            return;
        }
        self.source.release(session, close);
    }

    fn give_back(&self, slot: Option<Box<dyn Session>>, close: bool) {
        if let Some(session) = slot {
            self.source.release(session, close);
        }
    }

    async fn control(&self, session: &mut dyn Session, phase: Phase, sql: &str) -> Result<(), Failure> {
        answer(phase, self.policy.answer_deadline, session.control(sql)).await
    }

    /// Ends the transactions that earlier attempts may have left open, so that this one does not wait for their locks.
    /// One that cannot be ended now is kept for the next attempt.
    async fn end_orphans(&self, run: &mut Run) {
        while let Some(orphan) = run.orphans.last().copied() {
            let ended = answer(Phase::Begin, self.time_to_begin(run), self.source.end_orphan(orphan)).await;
            if let Err(failure) = ended {
                tracing::debug!(error = %failure.error, "the transaction of a lost attempt could not be ended");
                return;
            }
            run.orphans.pop();
        }
    }
}

impl Frame {
    fn decide(&self, failure: &Failure) -> Verdict {
        // Another server would be as read-only as this transaction was begun.
        if failure.class == Class::ReadOnly && !self.writes {
            return Verdict::Fail;
        }
        decide(self.version.server, failure.phase, failure.class)
    }
}

/// A failed COMMIT has ended the transaction on PostgreSQL and CockroachDB, and one ROLLBACK more is answered by
/// CockroachDB with an error; on SQLite, and after a failed RELEASE, it is still open.
fn is_open_after(phase: Phase, frame: &Frame) -> bool {
    let ended_by_commit =
        phase == Phase::Commit && frame.restarts.is_none() && frame.version.server != Server::Sqlite;
    frame.begun && !ended_by_commit
}

impl Contract {
    /// What a statement was that failed after `answered` others.
    fn phase_of_body(self, answered: u32) -> Phase {
        match (self, answered) {
            (Self::Statement, 0) => Phase::Statement,
            (Self::Statement, _) => Phase::LookUp,
            (Self::Once | Self::Idempotent | Self::Snapshot | Self::Query, _) => Phase::Body,
        }
    }
}

impl Record {
    /// Whether an autocommitted statement has been answered and the body did not say that it changed nothing.
    fn may_have_changed(&self) -> bool {
        self.answered > 0 && self.proof != Some(Proof::NotApplied)
    }
}

/// Waits for one answer of the server, for a while.
async fn answer<T>(
    phase: Phase,
    within: Duration,
    asked: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(within, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure { phase, class: Class::of(&error), error }),
        Err(_) => Err(Failure { phase, class: Class::Lost, error: no_answer(within) }),
    }
}

/// The error of a body that ended in one of its own without saying what became of its autocommitted statement.
fn unsettled() -> DbErr {
    DbErr::Custom(
        "the body failed after its statement was answered, and did not say that nothing is applied"
            .to_owned(),
    )
}
