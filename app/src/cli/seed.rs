//! `seed`: adds accounts.

use serde::Serialize;
use terminal::{Failure, counted, grouped};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::load;
use super::progress::pace;
use crate::bank::Bank;
use crate::bank::seed::ID_LIMIT;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many accounts to add
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    #[command(flatten)]
    draw: load::DrawFlags,
}

pub(super) fn demo() -> Args {
    Args { count: 100, draw: load::DrawFlags::tutorial() }
}

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
    let bank = context.bank_to_write(args.draw.load.at_once()).await?;
    seed(context, &bank, args).await
}

pub(super) async fn seed(context: &Context, bank: &Bank, args: &Args) -> Result<Answer, Failure> {
    let existing = context.read(bank.account_count()).await?;
    if existing.saturating_add(args.count) > ID_LIMIT.unsigned_abs() && args.count > 0 {
        return Err(Failure::usage(format!(
            "the bank has {} and room for {ID_LIMIT}: give a smaller --count",
            counted(existing, "account")
        )));
    }
    let seeded = load::draw(
        context,
        "seed",
        args.count,
        "account",
        &args.draw,
        async |rng_seed, loading, counting| {
            bank.seed(args.count, rng_seed, loading, |loaded| counting.done(loaded.rows + loaded.found)).await
        },
    );
    let load::Drawn { loaded, failure, run, rng_seed, seconds, found } = seeded.await;
    let keys = Keys {
        created: loaded.rows,
        found: loaded.found,
        collisions: loaded.done.0,
        existing,
        chunks: loaded.chunks,
        retries: bank.counts().retries,
        seconds,
        run,
        rng_seed,
    };
    let text = text(&keys) + &found;
    Ok(Answer::new(keys, text).with_failure(failure))
}

fn text(keys: &Keys) -> String {
    format!(
        "Added {} in {}.\nAccounts before: {}, chunks: {}, numbers drawn again: {}, retries: {}.",
        counted(keys.created, "account"),
        pace(keys.created, keys.seconds),
        grouped(keys.existing),
        grouped(keys.chunks),
        grouped(keys.collisions),
        grouped(keys.retries)
    )
}
