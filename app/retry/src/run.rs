//! The loop: attempts, their endings, and the pauses between them.

use std::fmt::Display;
use std::sync::PoisonError;
use std::time::Duration;

use tracing::Instrument;

use crate::runner::{Bodies, Contract, Runner};
use crate::state::{Ending, Run};
use crate::{AttemptEnded, Class, Ended, Kind, Outcome, RunEnded, Tx, sqlstate};

impl Runner {
    pub(crate) async fn run_as<T, E, F>(
        &self,
        name: &'static str,
        contract: Contract,
        body: F,
    ) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        if let Some(why) = self.refusal() {
            return Err(Ended::refused(name, why).into());
        }
        self.observers.each(|observer| observer.run_began(name));
        self.attempts(Run::new(name), contract, body)
            .instrument(tracing::info_span!("transaction", name))
            .await
    }

    /// Why nothing can be run here and now.
    fn refusal(&self) -> Option<&'static str> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Some("it needs a tokio runtime");
        }
        if Bodies::contain(self.source.identity()) {
            return Some(
                "it would be a second transaction inside the body of one on the same pool: use the Tx at hand",
            );
        }
        self.source.version().and_then(|version| self.policy.unsupported(version.server))
    }

    async fn attempts<T, E, F>(&self, mut run: Run, contract: Contract, body: F) -> Result<T, E>
    where
        E: From<Ended> + Display,
        F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    {
        loop {
            let failed_before = run.failed.len();
            let ending = self.attempt(&mut run, contract, body.clone()).await;
            tracing::debug!(attempt = run.number, outcome = ending.name(), "attempt ended");
            let goes_on = match &ending {
                Ending::Again(_) => true,
                Ending::Unknown => contract.is_idempotent(),
                Ending::Applied(_) | Ending::Failed(_) => false,
            };
            let pause = if goes_on { self.pause(&run) } else { None };
            self.tell_attempt(&run, failed_before, pause);
            if let Some(pause) = pause {
                run.paused += pause;
                tokio::time::sleep(pause).await;
                continue;
            }
            return match ending {
                Ending::Applied(value) => {
                    self.tell_run(&run, Outcome::Applied);
                    Ok(value)
                }
                Ending::Failed(error) => Err(self.error(run, true, error)),
                Ending::Again(error) => Err(self.error(run, false, error)),
                Ending::Unknown => Err(self.error(run, false, None)),
            };
        }
    }

    /// What the caller gets of a run that is not applied.
    fn error<E: From<Ended> + Display>(&self, run: Run, refused: bool, body: Option<E>) -> E {
        let outcome = match run.unknown {
            Some(_) => Outcome::Unknown,
            None if refused => Outcome::Failed,
            None => Outcome::RetriesExhausted,
        };
        self.tell_run(&run, outcome);
        let kind = match refused {
            true if run.unsupported => Kind::Refused,
            true => Kind::Failed,
            false => Kind::RetriesExhausted,
        };
        match body {
            Some(error) if outcome == Outcome::Failed => error,
            body => run.into_ended(kind, body.map(|error| format!("{error:#}"))).into(),
        }
    }

    /// The pause before the next attempt; `None` where there is to be none.
    fn pause(&self, run: &Run) -> Option<Duration> {
        let failure = run.failed.last()?;
        // A server that is not there is given time, by whoever asks.
        let lost = if failure.class == Class::Conflict { run.lost() } else { 0 };
        let jittered = || {
            let mut jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
            self.policy.pause(run.number, lost, &mut *jitter)
        };
        // A connection whose statements were cleared is kept for the next attempt, and nobody is waited for.
        let pause = if run.kept.is_some() { Duration::ZERO } else { jittered() };
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

    /// Tells of the attempt that has ended, or of the restart that begins.
    pub(crate) fn tell_attempt(&self, run: &Run, failed_before: usize, retry_in: Option<Duration>) {
        let failure = run.failed.get(failed_before..).and_then(<[_]>::last);
        let told = AttemptEnded {
            name: run.name,
            number: run.number,
            phase: failure.map(|it| it.phase),
            error: failure.map(|it| &it.error),
            retry_in,
        };
        self.observers.each(|observer| observer.attempt_ended(&told));
    }

    fn tell_run(&self, run: &Run, outcome: Outcome) {
        let told = RunEnded {
            name: run.name,
            outcome,
            attempts: run.number,
            took: run.elapsed(),
            paused: run.paused,
        };
        self.observers.each(|observer| observer.run_ended(&told));
    }
}
