//! The state of a run from attempt to attempt, and what happens after a failed one.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use crate::begin::{Frame, RESTART};
use crate::{Attempt, Class, Contract, Failure, Id, Link, Phase, Policy, Runner, Server, Verdict, decide};

/// The state of a run.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) contract: Contract,
    pub(crate) started: Instant,
    /// The current attempt; the first is 1.
    pub(crate) number: u32,
    pub(crate) failed: Vec<Attempt>,
    pub(crate) paused: Duration,
    /// The error that left an attempt unknown, until a later attempt proves what became of it.
    pub(crate) unknown: Option<DbErr>,
    /// Whether the transaction of an earlier attempt may still be open on the server.
    pub(crate) orphaned: bool,
    /// Those of them that have an id.
    pub(crate) orphans: Vec<Id>,
    /// The connection for the next attempt: rolled back to its savepoint, or with its prepared
    /// statements cleared.
    pub(crate) kept: Option<(Link, Option<Frame>)>,
    plans_cleared: bool,
    key_taken: bool,
}

/// What an attempt knows of earlier attempts.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// The number of this attempt; the first is 1.
    pub(crate) attempt: u32,
    /// Whether one ended unknown and is not settled.
    pub(crate) unknown: bool,
    /// Whether one ended by a unique violation.
    pub(crate) key_taken: bool,
}

impl Run {
    pub(crate) fn new(name: &'static str, contract: Contract) -> Self {
        Self {
            name,
            contract,
            started: Instant::now(),
            number: 0,
            failed: Vec::new(),
            paused: Duration::ZERO,
            unknown: None,
            orphaned: false,
            orphans: Vec::new(),
            kept: None,
            plans_cleared: false,
            key_taken: false,
        }
    }

    pub(crate) fn before(&self) -> Before {
        Before { attempt: self.number, unknown: self.unknown.is_some(), key_taken: self.key_taken }
    }

    /// Whether another attempt may begin after a pause.
    pub(crate) fn may_go_on(&self, policy: &Policy, pause: Duration) -> bool {
        self.number < policy.attempts_max && self.started.elapsed() + pause < policy.total_time
    }

    /// How many attempts ended by a conflict.
    pub(crate) fn lost(&self) -> u32 {
        let lost = self.failed.iter().filter(|attempt| attempt.class == Class::Conflict).count();
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    /// Whether another attempt can help after this verdict.
    pub(crate) fn goes_on_after(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Fail | Verdict::Committed => false,
            Verdict::Unknown => self.contract.is_idempotent,
            _ => true,
        }
    }

    /// Records a failed attempt and returns its verdict for this run. A run clears plans, and looks
    /// up a taken key, once.
    pub(crate) fn failed(&mut self, verdict: Verdict, failure: Attempt) -> Verdict {
        if verdict == Verdict::Unknown {
            self.unknown.get_or_insert_with(|| failure.error.clone());
        }
        self.failed.push(failure);
        let again = match verdict {
            Verdict::RetryWithoutPlans => !std::mem::replace(&mut self.plans_cleared, true),
            Verdict::RetryIfIdempotent => {
                self.contract.is_idempotent && !std::mem::replace(&mut self.key_taken, true)
            }
            _ => true,
        };
        if again { verdict } else { Verdict::Fail }
    }

    /// Records that the connection is lost, and that its transaction may still be open.
    fn lose(&mut self, frame: &Frame) {
        self.orphaned = true;
        self.orphans.extend(frame.id);
    }
}

impl Runner {
    /// Decides what a failed attempt means for its run and its connection. `failure` is `None` if
    /// the body returned an error of its own. No lock is held through a pause: the connection is
    /// released, kept for an attempt that begins at once, or closed.
    pub(crate) async fn handle_failure(
        &self,
        run: &mut Run,
        frame: &Frame,
        mut link: Link,
        close: bool,
        failure: Option<Attempt>,
    ) -> Verdict {
        let Some(failure) = failure else {
            self.end(link, frame, close).await;
            return Verdict::Fail;
        };
        let (server, phase, class) = (frame.version.server, failure.phase, failure.class);
        let verdict = match class {
            // The transaction was begun READ ONLY: another server would refuse it, too.
            Class::ReadOnly if !frame.writes => Verdict::Fail,
            class => decide(server, phase, class),
        };
        let verdict = run.failed(verdict, failure);
        let close = close || class == Class::Driver;
        // A failed COMMIT has ended the transaction on PostgreSQL and CockroachDB, and one ROLLBACK
        // more is answered by CockroachDB with an error; on SQLite, and after a failed RELEASE, it is
        // still open.
        let is_over = phase == Phase::Commit && frame.restarts.is_none() && server != Server::Sqlite;
        match verdict {
            Verdict::RetryOnNewConnection | Verdict::Unknown => run.lose(frame),
            Verdict::Retry if frame.restarts > Some(0) && run.may_go_on(&self.policy, Duration::ZERO) => {
                // No pause: the transaction keeps its place among its rivals.
                let restarts = frame.restarts.map(|left| left - 1);
                match link.control(&format!("ROLLBACK TO SAVEPOINT {RESTART}")).await {
                    Ok(_) => run.kept = Some((link, Some(Frame { restarts, ..*frame }))),
                    Err(_) => run.lose(frame),
                }
            }
            // The pool's idle connections are as stale as this one.
            Verdict::RetryWithoutPlans => {
                run.kept = without_plans(link, frame).await.ok().map(|link| (link, None));
            }
            _ if is_over => self.release(link, close),
            _ => self.end(link, frame, close).await,
        }
        verdict
    }

    /// Rolls back and releases the connection, or closes it if ROLLBACK fails.
    async fn end(&self, mut link: Link, frame: &Frame, close: bool) {
        match roll_back(&mut link, frame).await {
            Ok(()) => self.release(link, close),
            Err((error, _)) => tracing::debug!(%error, "ROLLBACK failed, the connection is dropped"),
        }
    }
}

async fn roll_back(link: &mut Link, frame: &Frame) -> Result<(), Failure> {
    if frame.contract.is_transaction {
        link.control(&frame.end("ROLLBACK")).await?;
    }
    Ok(())
}

async fn without_plans(mut link: Link, frame: &Frame) -> Result<Link, Failure> {
    roll_back(&mut link, frame).await?;
    link.ask(&(), |session, ()| session.forget_statements()).await?;
    Ok(link)
}
