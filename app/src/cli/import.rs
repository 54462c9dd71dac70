//! `import`: adds the rows of a file.

mod server_side;

use std::path::{Path, PathBuf};

use serde::Serialize;
use terminal::{Failure, counted, counted_were, grouped};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::file::{Going, RowFlags, Task};
use super::load::LoadFlags;
use super::progress::pace;
use crate::bank::import::Imported;

/// The default of `--chunk`. COPY of 10 000 rows is over three times as fast as of 1000.
const CHUNK: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A CSV file, gzipped if it ends in .gz, or - for standard input. Its header is
    /// id,balance[,opening_balance[,created_at]] or id,source_id,target_id,amount[,created_at]
    #[arg(value_name = "FILE", required_unless_present = "server_side")]
    file: Option<PathBuf>,

    /// On CockroachDB: the server IMPORTs all accounts or none from this URL, as in
    /// http://host/accounts.csv or nodelocal://1/accounts.csv; accounts is offline meanwhile
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "on_error", "rejects"])]
    server_side: Option<String>,

    #[command(flatten)]
    load: LoadFlags,

    #[command(flatten)]
    rows: RowFlags,
}

#[derive(Debug, Serialize)]
struct Keys {
    rows: u64,
    found: u64,
    present: u64,
    rejected: u64,
    chunks: u64,
    retries: u64,
    seconds: f64,
    run: Uuid,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    match (&args.server_side, &args.file) {
        (Some(url), _) => server_side::run(context, args, url).await,
        (None, Some(file)) => import(context, args, file).await,
        (None, None) => Err(Failure::usage("give a FILE, or --server-side URL")),
    }
}

async fn import(context: &Context, args: &Args, file: &Path) -> Result<Answer, Failure> {
    let task = Task { command: "import", done: "imported", unit: "row", file, chunk: CHUNK };
    let (going, source) = Going::start(context, &task, &args.load, &args.rows).await?;
    let imported = going
        .bank
        .import(
            source.into_reader(),
            &going.loading,
            going.on_error,
            |imported| going.done(imported.rows + imported.found + imported.present),
            |row| going.reject(row),
        )
        .await;
    let ended = going.end(imported);
    let keys = keys(ended.came_to, ended.retries, ended.seconds, ended.run);
    let text = text(&keys, &args.rows);
    Ok(Answer::new(keys, text).with_failure(ended.failure))
}

fn keys(imported: Imported, retries: u64, seconds: f64, run: Uuid) -> Keys {
    let Imported { rows, found, present, rejected, chunks } = imported;
    Keys { rows, found, present, rejected, chunks, retries, seconds, run }
}

fn text(keys: &Keys, rows: &RowFlags) -> String {
    let mut text = format!(
        "Imported {} in {}.\nChunks: {}, retries: {}.",
        counted(keys.rows, "row"),
        pace(keys.rows, keys.seconds),
        grouped(keys.chunks),
        grouped(keys.retries)
    );
    if keys.found > 0 {
        text += &format!("\n{} there already, of this run.", counted_were(keys.found, "row"));
    }
    if keys.present > 0 {
        text += &format!("\n{} there already, equal to the file's.", counted_were(keys.present, "row"));
    }
    text + &rows.left_out(keys.rejected)
}
