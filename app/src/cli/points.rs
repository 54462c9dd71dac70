//! `points`: the tutorial's second program, a bulk insert in chunks.

use std::time::Instant;

use serde::Serialize;
use terminal::Failure;
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::load;
use super::progress::{pace, run_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many points to add
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    #[command(flatten)]
    load: load::LoadFlags,

    /// Draw the same points as a run before
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,
}

/// What adding points came to. None is ever rejected: the key is there because every load has it.
#[derive(Debug, Serialize)]
struct Keys {
    rows: u64,
    found: u64,
    rejected: u64,
    chunks: u64,
    retries: u64,
    seconds: f64,
    run: Uuid,
    rng_seed: u64,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank(args.load.at_once()).await?;
    let rng_seed = args.rng_seed.unwrap_or_else(rand::random);
    let loading = args.load.loading(context, load::CHUNK);
    let again = load::again(&format!("points --count {} --rng-seed {rng_seed}", args.count), &loading);
    context.progress().say(&run_line("points", loading.run));

    let started = Instant::now();
    let mut counting = context.progress().towards(args.count, "points");
    let added =
        bank.add_points(args.count, rng_seed, &loading, |loaded| counting.done(loaded.rows + loaded.found));
    let added = added.await;
    drop(counting);

    let (added, failure) =
        load::ended(context, added, |added| added.rows + added.found == args.count, &again);
    let seconds = started.elapsed().as_secs_f64();
    let retries = bank.counts().retries;
    let text = format!(
        "Added {} points in {}: chunks: {}, retries: {retries}.{}",
        added.rows,
        pace(added.rows, seconds),
        added.chunks,
        load::found(&added, "points")
    );
    let keys = Keys {
        rows: added.rows,
        found: added.found,
        rejected: 0,
        chunks: added.chunks,
        retries,
        seconds,
        run: loading.run,
        rng_seed,
    };
    Ok(Answer::new(keys, text).but(failure))
}
