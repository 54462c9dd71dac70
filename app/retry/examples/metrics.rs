//! Feeds the `metrics` crate from an observer: attempts by SQLSTATE, and the duration of runs.
//! `cargo run --example metrics`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use sea_orm::{ConnectOptions, Database, DbErr};
use sea_orm_retry::{AttemptEnded, Counter, Observer, Policy, RunEnded, Runner, Tx};

struct Metrics;

impl Observer for Metrics {
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let code = attempt.sqlstate().unwrap_or_else(|| "none".to_owned());
        metrics::counter!("transaction_attempts", "name" => attempt.name, "sqlstate" => code).increment(1);
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
    let counter = Arc::<Counter>::default();
    let runner = Runner::new(&Database::connect(options).await?, Policy::default())
        .observed_by(Arc::new(Metrics))
        .observed_by(counter.clone());
    let body = async |tx: &Tx| if tx.attempt() < 3 { Err(tx.again("for the figures")) } else { Ok(()) };
    runner.run("count", body).await?;
    let counts = counter.counts();
    println!("{} attempts, {} retries", counts.attempts, counts.retries);
    assert_eq!((counts.attempts, counts.retries), (3, 2));
    Ok(())
}
