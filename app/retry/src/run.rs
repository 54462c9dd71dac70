//! The loop: attempts, their endings, and the pauses between them.

use std::fmt::Display;
use std::sync::PoisonError;
use std::time::Duration;

use sea_orm::DbErr;
use tracing::Instrument;

use crate::observer::{AttemptEnded, Observer, RunEnded};
use crate::runner::is_in_body;
use crate::{Class, Ended, Kind, Run, Runner, Tx, Verdict, sqlstate};

impl Runner {
    /// Runs attempts until one decides.
    pub(crate) async fn carry_out<T, E, F>(&self, mut run: Run, body: F) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        let name = run.name;
        if let Some(why) = self.refusal() {
            return Err(Ended::new(run, Kind::Refused, DbErr::Custom(why.to_owned()), None).into());
        }
        self.notify(|observer| observer.run_began(name));
        let attempts = async move {
            loop {
                let ended = self.attempt(&mut run, body.clone()).await;
                let verdict = ended.as_ref().err().map_or(Verdict::Committed, |(verdict, _)| *verdict);
                tracing::debug!(attempt = run.number, outcome = ?verdict, "attempt ended");
                let pause = if run.goes_on_after(verdict) { self.pause(&run) } else { None };
                // Every attempt before this one has failed.
                let failure = run.failed.get(run.number as usize - 1);
                let event = AttemptEnded { name, number: run.number, failure, retry_in: pause };
                self.notify(|observer| observer.attempt_ended(&event));
                if let Some(pause) = pause {
                    run.paused += pause;
                    tokio::time::sleep(pause).await;
                    continue;
                }
                return match ended {
                    Ok(value) => {
                        self.notify_run_ended(&run, Ok(()));
                        Ok(value)
                    }
                    Err((verdict, body)) => Err(self.error(run, verdict, body)),
                };
            }
        };
        attempts.instrument(tracing::info_span!("transaction", name)).await
    }

    /// Why this run cannot begin.
    fn refusal(&self) -> Option<&'static str> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Some("it needs a tokio runtime");
        }
        if is_in_body(self.sessions.identity()) {
            return Some(
                "it would be a second transaction inside the body of one on the same pool: use the Tx at hand",
            );
        }
        self.server().and_then(|server| self.policy.unsupported(server))
    }

    /// The caller's error.
    fn error<E: From<Ended> + Display>(&self, mut run: Run, verdict: Verdict, body: Option<E>) -> E {
        let kind = match verdict {
            _ if run.unknown.is_some() => Kind::Unknown,
            // The server became known with the first connection.
            Verdict::Fail if self.refusal().is_some() => Kind::Refused,
            Verdict::Fail => Kind::Failed,
            _ => Kind::RetriesExhausted,
        };
        self.notify_run_ended(&run, Err(kind));
        let decided = if verdict == Verdict::Fail { run.failed.last() } else { run.failed.first() };
        let first = run.unknown.take().or_else(|| decided.map(|attempt| attempt.error.clone()));
        match body {
            Some(error) if kind == Kind::Failed => error,
            body => {
                let first = first.unwrap_or_else(|| DbErr::Custom("nothing was tried".to_owned()));
                Ended::new(run, kind, first, body.map(|error| format!("{error:#}"))).into()
            }
        }
    }

    /// The pause before the next attempt; `None` if there is no next attempt.
    fn pause(&self, run: &Run) -> Option<Duration> {
        let failure = run.failed.last()?;
        // Only conflicts make a run old: an unreachable server gets its full pauses.
        let lost = if failure.class == Class::Conflict { run.lost() } else { 0 };
        let jitter = || self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        let jittered = self.policy.pause(run.number, lost, &mut *jitter());
        // A kept connection holds its transaction, or its place in the pool: no pause.
        let pause = if run.kept.is_some() { Duration::ZERO } else { jittered };
        if !run.may_go_on(&self.policy, pause) {
            return None;
        }
        let (attempt, phase, error) = (run.number, failure.phase, &failure.error);
        let code = sqlstate(error);
        if failure.class == Class::Conflict && attempt < self.policy.warn_after {
            tracing::debug!(attempt, sqlstate = code.as_deref(), ?phase, ?pause, %error, "retrying");
        } else {
            tracing::warn!(attempt, sqlstate = code.as_deref(), ?phase, ?pause, %error, "retrying");
        }
        Some(pause)
    }

    fn notify_run_ended(&self, run: &Run, outcome: Result<(), Kind>) {
        let (name, paused) = (run.name, run.paused);
        let event = RunEnded { name, outcome, attempts: run.number, took: run.started.elapsed(), paused };
        self.notify(|observer| observer.run_ended(&event));
    }

    fn notify(&self, notify: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            notify(observer.as_ref());
        }
    }
}
