//! Feeds the `metrics` crate from an observer: attempts by SQLSTATE, and the duration of runs.
//! `cargo run --example metrics`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::{ConnectOptions, Database, DbErr};
use sea_orm_retry::{AttemptEnded, Observer, Policy, RunEnded, Runner, Tx};

#[derive(Default)]
struct Metrics {
    attempts: AtomicU64,
    retries: AtomicU64,
}

impl Observer for Metrics {
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(attempt.retry_in.is_some()), Ordering::Relaxed);
        let cause = attempt.failure.map_or_else(|| "none".to_owned(), |failure| failure.cause().into_owned());
        metrics::counter!("transaction_attempts", "name" => attempt.name, "cause" => cause).increment(1);
    }

    fn run_ended(&self, run: &RunEnded) {
        let outcome = run.outcome.map_or_else(|kind| format!("{kind:?}"), |()| "Applied".to_owned());
        metrics::histogram!("transaction_seconds", "name" => run.name, "outcome" => outcome)
            .record(run.took.as_secs_f64());
    }
}

#[tokio::main]
async fn main() -> Result<(), DbErr> {
    // A program installs its exporter first; without one, metrics are discarded.
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let counts = Arc::<Metrics>::default();
    let runner =
        Runner::new(&Database::connect(options).await?, Policy::default()).observed_by(counts.clone());
    let body = async |tx: &Tx| if tx.attempt() < 3 { Err(tx.again("for the figures")) } else { Ok(()) };
    runner.run("count", body).await?;
    let (attempts, retries) =
        (counts.attempts.load(Ordering::Relaxed), counts.retries.load(Ordering::Relaxed));
    println!("{attempts} attempts, {retries} retries");
    assert_eq!((attempts, retries), (3, 2));
    Ok(())
}
