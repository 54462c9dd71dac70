//! `seed`: adding accounts.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;
use terminal::{Exit, Failure};
use transaction::Counts;
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::failure;
use super::progress::{pace, run_line};
use crate::bank::Bank;
use crate::bank::seed::{ID_LIMIT, Seed, Seeded};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many accounts to add
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// How many of them in each transaction
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    chunk: u64,

    /// Complete the run with this id: chunks that it has added already are not added again
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,

    /// Draw the same numbers and balances as a run before
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,
}

impl Args {
    /// With what is left out made up.
    fn seed(&self) -> Seed {
        Seed {
            count: self.count,
            chunk: self.chunk,
            run: self.run.unwrap_or_else(Uuid::new_v4),
            rng_seed: self.rng_seed.unwrap_or_else(rand::random),
        }
    }
}

/// As the tutorial seeds.
pub(super) fn demo() -> Seed {
    Args { count: 100, chunk: 1000, run: None, rng_seed: None }.seed()
}

/// What a seeding came to.
#[derive(Debug, Serialize)]
struct Keys {
    created: u64,
    found: u64,
    collisions: u64,
    existing: u64,
    chunks: u64,
    retries: u64,
    seconds: f64,
    run: Uuid,
    rng_seed: u64,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank(1).await?;
    seed(context, &bank, args.seed()).await
}

/// Seeds a bank, telling how it goes.
pub(super) async fn seed(context: &Context, bank: &Bank, seed: Seed) -> Result<Answer, Failure> {
    let existing = context.read(bank.account_count()).await?;
    if existing.saturating_add(seed.count) > ID_LIMIT.unsigned_abs() && seed.count > 0 {
        return Err(Failure::usage(format!(
            "the bank has {existing} accounts and room for {ID_LIMIT}: give a smaller --count"
        )));
    }
    let again = format!(
        "cargo run -p app seed --count {} --chunk {} --run {} --rng-seed {}",
        seed.count, seed.chunk, seed.run, seed.rng_seed
    );
    context.progress().say(&run_line("seed", seed.run));

    let started = Instant::now();
    let mut counting = context.progress().towards(seed.count, "accounts");
    let ended = bank
        .seed(seed, |done| {
            counting.done(done.created + done.found);
            if context.interrupted().is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .await;
    drop(counting);

    let (seeded, failure) = match ended {
        Ok(seeded) if seeded.created + seeded.found == seed.count => (seeded, None),
        Ok(seeded) => (seeded, context.interruption(format!("to complete it run `{again}`"))),
        Err((error, seeded)) => (seeded, Some(with_completion(failure::seeding(&error, &again), &again))),
    };
    let keys = keys(seed, existing, seeded, &bank.counts(), started.elapsed().as_secs_f64());
    let text = text(&keys);
    Ok(Answer::new(keys, text).but(failure))
}

/// The chunks before a failure stay, so the same run is what completes the work.
fn with_completion(failure: Failure, again: &str) -> Failure {
    match failure.kind {
        "run_conflict" => failure,
        _ if failure.exit == Exit::Unknown => failure,
        _ => Failure { line: format!("{}; to complete the rest run `{again}`", failure.line), ..failure },
    }
}

fn keys(seed: Seed, existing: u64, seeded: Seeded, counts: &Counts, seconds: f64) -> Keys {
    Keys {
        created: seeded.created,
        found: seeded.found,
        collisions: seeded.collisions,
        existing,
        chunks: seeded.chunks,
        retries: counts.retries,
        seconds,
        run: seed.run,
        rng_seed: seed.rng_seed,
    }
}

fn text(keys: &Keys) -> String {
    let mut text = format!(
        "Added {} accounts to the {} there were, in {}: chunks: {}, numbers drawn again: {}, retries: {}.",
        keys.created,
        keys.existing,
        pace(keys.created, keys.seconds),
        keys.chunks,
        keys.collisions,
        keys.retries
    );
    if keys.found > 0 {
        text += &format!("\n{} accounts of this run were there already.", keys.found);
    }
    text
}
