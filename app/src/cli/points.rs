//! `points`: the tutorial's bulk insert, in chunks.

use serde::Serialize;
use terminal::{Failure, counted, grouped};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::load;
use super::progress::pace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many points to add
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    #[command(flatten)]
    draw: load::DrawFlags,
}

/// `rejected` is always 0: every load has the key.
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
    let bank = context.bank_to_write(args.draw.load.at_once()).await?;
    let added = load::draw(
        context,
        "points",
        args.count,
        "point",
        &args.draw,
        async |rng_seed, loading, counting| {
            bank.add_points(args.count, rng_seed, loading, |loaded| counting.done(loaded.rows + loaded.found))
                .await
        },
    );
    let load::Drawn { loaded, failure, run, rng_seed, seconds, found } = added.await;
    let retries = bank.counts().retries;
    let text = format!(
        "Added {} in {}.\nChunks: {}, retries: {}.{found}",
        counted(loaded.rows, "point"),
        pace(loaded.rows, seconds),
        grouped(loaded.chunks),
        grouped(retries),
    );
    let keys = Keys {
        rows: loaded.rows,
        found: loaded.found,
        rejected: 0,
        chunks: loaded.chunks,
        retries,
        seconds,
        run,
        rng_seed,
    };
    Ok(Answer::new(keys, text).with_failure(failure))
}
