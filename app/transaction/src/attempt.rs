//! One attempt: a connection, BEGIN, the body, COMMIT, and the way out of each when it fails.

use std::time::Duration;

use database::{Server, sqlstate};
use sea_orm::DbErr;

use crate::run::{Ending, Failure, Run};
use crate::runner::{Contract, IN_BODY, Runner};
use crate::tx::{Record, no_answer};
use crate::{Begin, Class, Earlier, Error, Phase, Session, Tx, Verdict};

const RESTART: &str = "cockroach_restart";

/// How the transaction of an attempt is framed.
struct Frame {
    /// `None` where each statement is a transaction of its own.
    begin: Option<Begin>,
    /// Whether it is CockroachDB's protocol, whose commit is the release of a savepoint.
    savepoint: bool,
}

impl Runner {
    pub(crate) async fn attempt<T, E, F>(&self, run: &mut Run, contract: Contract, body: F) -> Ending<T, E>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        self.stats.counts().attempts += 1;
        self.end_orphans(run).await;
        let frame = self.frame(run, contract);
        let (mut session, id) = match self.begin(run, &frame).await {
            Ok(begun) => begun,
            Err(failure) => return run.ended(failure, None, contract.is_idempotent()),
        };
        let mut restarts_left = self.policy.savepoint_restarts.filter(|_| frame.savepoint).unwrap_or(0);
        loop {
            let tx = Tx::new(self.server(), session, self.policy.answer_deadline, run.before());
            let result = IN_BODY.scope((), body.clone()(&tx)).await;
            let mut record;
            (session, record) = tx.into_parts();
            if record.earlier == Some(Earlier::Dead) && contract != Contract::Statement {
                run.unknown = None;
            }
            let (failure, refused_body) = match (result, record.failure.take()) {
                (result, Some((error, class))) => {
                    let phase = contract.phase_of_body(record.answered);
                    (Failure { phase, error, class }, result.err())
                }
                (Err(error), None) => {
                    if contract == Contract::Statement && record.may_have_changed() {
                        run.unknown.get_or_insert(unsettled());
                    }
                    self.end(session, frame.begin.is_some()).await;
                    return Ending::Failed(Error::Body(error));
                }
                (Ok(value), None) => match self.commit(session.as_mut(), &frame).await {
                    Ok(()) => {
                        self.sessions.release(session);
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
            };
            match failure.verdict() {
                Verdict::Retry if restarts_left > 0 => {
                    restarts_left -= 1;
                    if let Err(failure) = self.restart(run, session.as_mut(), failure).await {
                        run.orphan_left(id);
                        return run.ended(failure, None, contract.is_idempotent());
                    }
                }
                Verdict::RetryOnNewConnection | Verdict::RetryOnceOnNewConnection | Verdict::Unknown => {
                    drop(session);
                    run.orphan_left(id);
                    return run.ended(failure, refused_body, contract.is_idempotent());
                }
                Verdict::Retry | Verdict::LookUp | Verdict::Fail | Verdict::Committed => {
                    self.end(session, self.is_open_after(failure.phase, &frame)).await;
                    return run.ended(failure, refused_body, contract.is_idempotent());
                }
            }
        }
    }

    fn frame(&self, run: &Run, contract: Contract) -> Frame {
        let begin = match contract {
            Contract::Query | Contract::Statement => None,
            Contract::Snapshot => Some(self.policy.read_as_of.map_or(Begin::Snapshot, Begin::Past)),
            Contract::Once | Contract::Idempotent if run.orphaned => Some(Begin::WriteOverOrphan),
            Contract::Once | Contract::Idempotent => Some(Begin::Write),
        };
        let writes = matches!(begin, Some(Begin::Write | Begin::WriteOverOrphan));
        Frame { begin, savepoint: writes && self.policy.savepoint_restarts.is_some() }
    }

    /// Takes a connection and begins; with the savepoint where the policy asks for it.
    async fn begin(&self, run: &Run, frame: &Frame) -> Result<(Box<dyn Session>, Option<String>), Failure> {
        let within = self.time_to_begin(run);
        let mut session = answer(Phase::Begin, within, self.sessions.acquire()).await?;
        let Some(how) = &frame.begin else { return Ok((session, None)) };
        let id = answer(Phase::Begin, within, session.begin(how)).await?;
        if frame.savepoint {
            self.control(session.as_mut(), Phase::Begin, &format!("SAVEPOINT {RESTART}")).await?;
        }
        Ok((session, id))
    }

    /// Beginning is not waited for longer than the run may take: so far there is nothing to lose.
    fn time_to_begin(&self, run: &Run) -> Duration {
        self.policy.answer_deadline.min(self.policy.total_time.saturating_sub(run.elapsed()))
    }

    /// COMMIT; or RELEASE, which commits, and then COMMIT, which only ends. After a failed RELEASE no COMMIT is sent:
    /// it would "succeed" and mean a rollback.
    async fn commit(&self, session: &mut dyn Session, frame: &Frame) -> Result<(), Failure> {
        if frame.begin.is_none() {
            return Ok(());
        }
        if !frame.savepoint {
            return self.control(session, Phase::Commit, "COMMIT").await;
        }
        self.control(session, Phase::Commit, &format!("RELEASE SAVEPOINT {RESTART}")).await?;
        self.control(session, Phase::CommitAfterRelease, "COMMIT").await
    }

    /// Back to the savepoint at once, keeping the transaction's place among its rivals.
    async fn restart(
        &self,
        run: &mut Run,
        session: &mut dyn Session,
        failure: Failure,
    ) -> Result<(), Failure> {
        let code = sqlstate(&failure.error);
        tracing::warn!(sqlstate = code.as_deref(), error = %failure.error, "restarting from the savepoint");
        self.stats.restart(&failure.error);
        run.failed.push(failure);
        self.control(session, Phase::RollbackTo, &format!("ROLLBACK TO SAVEPOINT {RESTART}")).await
    }

    /// A failed COMMIT has ended the transaction on PostgreSQL and CockroachDB, and one ROLLBACK more is answered by
    /// CockroachDB with an error; on SQLite, and after a failed RELEASE, it is still open.
    fn is_open_after(&self, phase: Phase, frame: &Frame) -> bool {
        let ended_by_commit = phase == Phase::Commit && !frame.savepoint && self.server() != Server::Sqlite;
        frame.begin.is_some() && !ended_by_commit
    }

    /// Gives the connection back, after a ROLLBACK where a transaction is still open: locks are never held through a
    /// pause. Where that fails the connection is dropped.
    async fn end(&self, mut session: Box<dyn Session>, open: bool) {
        if open && let Err(failure) = self.control(session.as_mut(), Phase::RollbackTo, "ROLLBACK").await {
            tracing::debug!(error = %failure.error, "ROLLBACK failed, the connection is dropped");
            return;
        }
        self.sessions.release(session);
    }

    async fn control(&self, session: &mut dyn Session, phase: Phase, sql: &str) -> Result<(), Failure> {
        answer(phase, self.policy.answer_deadline, session.control(sql)).await
    }

    /// Ends the sessions that earlier attempts may have left open, so that this one does not wait for their locks.
    /// One that cannot be ended now is kept for the next attempt.
    async fn end_orphans(&self, run: &mut Run) {
        while let Some(orphan) = run.orphans.last() {
            let ended = answer(Phase::Begin, self.time_to_begin(run), self.sessions.end_orphan(orphan)).await;
            if let Err(failure) = ended {
                tracing::debug!(error = %failure.error, "the session of a lost attempt could not be ended");
                return;
            }
            run.orphans.pop();
        }
    }
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
        self.answered > 0 && self.earlier != Some(Earlier::Dead)
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
