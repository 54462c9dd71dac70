//! `seed`: adding accounts.

use std::time::Instant;

use serde::Serialize;
use terminal::Failure;
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::load;
use super::progress::{pace, run_line};
use crate::bank::Bank;
use crate::bank::seed::ID_LIMIT;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many accounts to add
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    #[command(flatten)]
    load: load::LoadFlags,

    /// Draw the same numbers and balances as a run before
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,
}

/// As the tutorial seeds.
pub(super) fn demo() -> Args {
    Args { count: 100, load: load::LoadFlags::tutorial(), rng_seed: None }
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
    let bank = context.bank(args.load.at_once()).await?;
    seed(context, &bank, args).await
}

/// Seeds a bank, telling how it goes.
pub(super) async fn seed(context: &Context, bank: &Bank, args: &Args) -> Result<Answer, Failure> {
    let existing = context.read(bank.account_count()).await?;
    if existing.saturating_add(args.count) > ID_LIMIT.unsigned_abs() && args.count > 0 {
        return Err(Failure::usage(format!(
            "the bank has {existing} accounts and room for {ID_LIMIT}: give a smaller --count"
        )));
    }
    let rng_seed = args.rng_seed.unwrap_or_else(rand::random);
    let loading = args.load.loading(context, load::CHUNK);
    let again = load::again(&format!("seed --count {} --rng-seed {rng_seed}", args.count), &loading);
    context.progress().say(&run_line("seed", loading.run));

    let started = Instant::now();
    let mut counting = context.progress().towards(args.count, "accounts");
    let seeded =
        bank.seed(args.count, rng_seed, &loading, |loaded| counting.done(loaded.rows + loaded.found)).await;
    drop(counting);

    let (seeded, failure) =
        load::ended(context, seeded, |seeded| seeded.rows + seeded.found == args.count, &again);
    let keys = Keys {
        created: seeded.rows,
        found: seeded.found,
        collisions: seeded.done.0,
        existing,
        chunks: seeded.chunks,
        retries: bank.counts().retries,
        seconds: started.elapsed().as_secs_f64(),
        run: loading.run,
        rng_seed,
    };
    let text = text(&keys) + &load::found(&seeded, "accounts");
    Ok(Answer::new(keys, text).but(failure))
}

fn text(keys: &Keys) -> String {
    format!(
        "Added {} accounts to the {} there were, in {}: chunks: {}, numbers drawn again: {}, retries: {}.",
        keys.created,
        keys.existing,
        pace(keys.created, keys.seconds),
        keys.chunks,
        keys.collisions,
        keys.retries
    )
}
