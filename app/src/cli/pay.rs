//! `pay`: applying the transfers of a file.

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

/// The transfers of a transaction where nothing is said.
const CHUNK: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of CSV, gzipped where its name ends in .gz; or - for standard input. Its header has source_id, target_id and
    /// amount, in any order, and id, unless the ids are to be made of the run and the line. created_at is ignored, so what
    /// `export transfers` writes can be paid into another bank. Within a transaction transfers are applied in the order of the
    /// lines; with --concurrency 1 all of them are, and with more the transactions are in no order
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    load: LoadFlags,

    #[command(flatten)]
    rows: RowFlags,
}

/// What the payment of a file came to.
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
    Ok(Answer::new(keys, text).but(ended.failure))
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
