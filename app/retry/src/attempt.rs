//! One attempt: a connection, BEGIN, the body, COMMIT.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sea_orm::DbErr;

use crate::begin::{self, Frame, RESTART};
use crate::class::{is_mixed_up, is_unknown_setting};
use crate::record::{Proof, Record};
use crate::runner::in_body;
use crate::session::no_answer;
use crate::shared::Shared;
use crate::{
    Attempt, Class, Contract, Failure, Link, Phase, Run, Runner, Server, Tx, Verdict, answer, decide,
};

impl Runner {
    /// Begins, runs the body and commits. On failure returns the verdict and the body's error.
    pub(crate) async fn attempt<T, E, F>(&self, run: &mut Run, body: F) -> Result<T, (Verdict, Option<E>)>
    where
        F: AsyncFnOnce(&Tx) -> Result<T, E>,
    {
        run.number += 1;
        // Nothing is at stake before BEGIN is answered, so all waits for it end with the run's time.
        let rest = self.policy.total_time.saturating_sub(run.started.elapsed());
        let begun = tokio::time::timeout(rest, self.begin(run)).await;
        let (link, frame) = match begun.unwrap_or_else(|_| Err((no_answer(rest), Class::Lost))) {
            Ok(begun) => begun,
            Err(failure) => {
                let server = self.server().unwrap_or(Server::Postgres);
                let verdict = decide(server, Phase::Begin, failure.1);
                return Err((run.failed(verdict, Attempt::new(Phase::Begin, failure)), None));
            }
        };
        let shared = Shared::new(frame, run.before(), link, self.observers.clone());
        let tx = Tx { shared: Arc::new(shared), savepoint: 0 };
        let result = in_body(self.sessions.identity(), body(&tx)).await;
        let (mut link, mut record) = tx.shared.finish().await;
        // An autocommitted statement holds no lock while it is on its way.
        let settles = frame.contract != Contract::STATEMENT && frame.version.keeps_locks();
        if record.proof == Some(Proof::NotApplied) && settles {
            run.unknown = None;
        }
        let failure = match (record.failure.take(), record.undone.take(), result.is_ok()) {
            (Some(failure), ..) => Some(Attempt::new(phase_of_body(&frame, &record), failure)),
            // The body returned the error that its savepoint undid.
            (None, Some(first @ (_, Class::Duplicate)), false) => Some(Attempt::new(Phase::Body, first)),
            (None, _, false) => {
                run.unknown = run.unknown.take().or_else(|| unsettled(&frame, &record));
                None
            }
            (None, _, true) => commit(&mut link, &frame, record.proof).await.err(),
        };
        match (failure, result) {
            (None, Ok(value)) => {
                self.release(link, record.session_changed);
                Ok(value)
            }
            (failure, result) => {
                // The pooler caused the error, so the pooler hint is reported and the body's error
                // is not.
                let pooled = |it: &Attempt| !self.policy.unnamed_statements && is_mixed_up(&it.error);
                let by_pooler = failure.as_ref().is_some_and(pooled);
                let verdict = self.handle_failure(run, &frame, link, record.session_changed, failure).await;
                Err((verdict, result.err().filter(|_| !by_pooler)))
            }
        }
    }

    /// Takes a connection and begins, unless the last attempt left both for this one.
    async fn begin(&self, run: &mut Run) -> Result<(Link, Frame), Failure> {
        let within = self.policy.answer_deadline;
        let kept = match run.kept.take() {
            Some((link, Some(frame))) => return Ok((link, frame)),
            kept => kept.map(|(link, _)| link),
        };
        self.end_orphans(run, within).await;
        let mut link = match kept {
            Some(link) => link,
            None => self.acquire(within).await?,
        };
        let version = self.version().unwrap_or(Server::Postgres.into());
        if let Some(why) = self.policy.unsupported(version.server) {
            self.release(link, false);
            return Err((DbErr::Custom(why.to_owned()), Class::Other));
        }
        let contract = run.contract;
        let writes = contract.writes && !self.policy.read_only;
        let restarts = self.policy.restarts(version.server, run.lost());
        let restarts = restarts.filter(|_| writes && contract.is_transaction);
        let mut frame = Frame { version, contract, writes, restarts, id: None };
        if contract.is_transaction {
            let asks = frame.asks_for_the_present(&self.policy);
            let now = if asks { link.control(begin::PRESENT).await? } else { None };
            let mut begun = link.control(&frame.begin(&self.policy, run.orphaned, now)).await;
            if let Err((error, class)) = &mut begun
                && version.commits_before_ddl()
                && is_unknown_setting(error)
            {
                // The server does not know a setting: stop sending it, and close this connection.
                self.settings_refused.store(true, Ordering::Relaxed);
                *class = Class::Lost;
            }
            frame.id = begun?.as_deref().and_then(begin::parse_id);
        }
        if restarts.is_some() {
            link.control(&format!("SAVEPOINT {RESTART}")).await?;
        }
        Ok((link, frame))
    }

    /// Ends the transactions that earlier attempts may have left open, which may hold locks. Keeps
    /// one that cannot be ended now for the next attempt.
    async fn end_orphans(&self, run: &mut Run, within: std::time::Duration) {
        while let Some(orphan) = run.orphans.last().copied() {
            if let Err((error, _)) = answer(within, self.sessions.end_orphan(orphan)).await {
                tracing::debug!(%error, "the transaction of a lost attempt could not be ended");
                return;
            }
            run.orphans.pop();
        }
    }
}

/// COMMIT; or RELEASE, which commits, and then COMMIT, which only ends. After a failed RELEASE no
/// COMMIT is sent: it would "succeed" and mean a rollback.
async fn commit(link: &mut Link, frame: &Frame, proof: Option<Proof>) -> Result<(), Attempt> {
    let found = proof == Some(Proof::Applied);
    let phase = match frame.writes {
        // The found transaction is applied, but only this COMMIT acknowledges it to this run.
        _ if found => Phase::LookUp,
        true => Phase::Commit,
        // A COMMIT that wrote nothing decides no more than any other statement.
        false => Phase::Body,
    };
    let Some(sql) = frame.commit(found) else { return Ok(()) };
    let after = match link.control(&sql).await {
        Err((error, class)) if decide(frame.version.server, phase, class) == Verdict::Committed => {
            Some(error)
        }
        Err(failure) => return Err(Attempt::new(phase, failure)),
        Ok(_) if frame.restarts.is_some() => link.control("COMMIT").await.err().map(|(error, _)| error),
        Ok(_) => None,
    };
    if let Some(error) = after {
        // The state of this connection is unknown.
        drop(link.take());
        tracing::warn!(%error, "applied, with an error after the commit");
    }
    Ok(())
}

/// The phase of a statement of the body that failed.
fn phase_of_body(frame: &Frame, record: &Record) -> Phase {
    match (frame.contract, record.answered) {
        (Contract::STATEMENT, 0) => Phase::Statement,
        (Contract::STATEMENT, _) => Phase::LookUp,
        _ => Phase::Body,
    }
}

/// Why the outcome of a body that returned an error is unknown: its autocommitted statement was
/// answered, and it did not prove that nothing is applied.
fn unsettled(frame: &Frame, record: &Record) -> Option<DbErr> {
    let why = "the body failed after its statement was answered, and did not say that nothing is applied";
    let answered = frame.contract == Contract::STATEMENT && record.answered > 0;
    (answered && record.proof != Some(Proof::NotApplied)).then(|| DbErr::Custom(why.to_owned()))
}
