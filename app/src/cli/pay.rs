//! `pay`: applies the transfers of a file.

use std::path::PathBuf;

use serde::Serialize;
use terminal::{Failure, counted, counted_were, grouped};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::file::{Going, RowFlags, Task};
use super::load::LoadFlags;
use super::progress::pace;
use crate::bank::pay::Paid;

/// The default of `--chunk`.
const CHUNK: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A CSV file, gzipped if it ends in .gz, or - for standard input. Columns: source_id, target_id,
    /// amount, and optionally id, else derived from the run and the line; created_at is ignored. A
    /// transaction applies its lines in order; with --concurrency 1 so does the whole file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    load: LoadFlags,

    #[command(flatten)]
    rows: RowFlags,
}

#[derive(Debug, Serialize)]
struct Keys {
    applied: u64,
    found: u64,
    already_applied: u64,
    rejected: u64,
    chunks: u64,
    retries: u64,
    seconds: f64,
    run: Uuid,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let file = &args.file;
    let task = Task { command: "pay", done: "paid", unit: "transfer", file, chunk: CHUNK };
    let (going, source) = Going::start(context, &task, &args.load, &args.rows).await?;
    let paid = going
        .bank
        .pay_file(
            source.into_reader(),
            &going.loading,
            going.on_error,
            |paid| going.done(paid.applied + paid.already_applied),
            |row| going.reject(row),
        )
        .await;
    let ended = going.end(paid);
    let Paid { applied, found, already_applied, rejected, chunks } = ended.came_to;
    let keys = Keys {
        applied,
        found,
        already_applied,
        rejected,
        chunks,
        retries: ended.retries,
        seconds: ended.seconds,
        run: ended.run,
    };
    let text = text(&keys, &args.rows);
    Ok(Answer::new(keys, text).with_failure(ended.failure))
}

fn text(keys: &Keys, rows: &RowFlags) -> String {
    let mut text = format!(
        "Applied {} in {}.\nChunks: {}, retries: {}.",
        counted(keys.applied, "transfer"),
        pace(keys.applied, keys.seconds),
        grouped(keys.chunks),
        grouped(keys.retries)
    );
    if keys.found > 0 {
        text += &format!("\n{} of them were applied by an earlier call of this run.", grouped(keys.found));
    }
    if keys.already_applied > 0 {
        text += &format!("\n{} already applied.", counted_were(keys.already_applied, "transfer"));
    }
    text + &rows.left_out(keys.rejected)
}
