//! `import`: adding the rows of a file.

mod rejects;
mod server_side;

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use serde::Serialize;
use terminal::{Exit, Failure, interrupted};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::progress::{pace, run_line};
use super::source::Source;
use super::{failure, load};
use crate::bank::import::{ImportError, Imported, OnError};
use crate::bank::load::Loading;
use rejects::Rejects;

/// The rows of a transaction where nothing is said. COPY of ten thousand is more than three times as fast as of one
/// thousand, and CockroachDB takes as many.
const CHUNK: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of CSV, gzipped where its name ends in .gz; or - for standard input. Its header says what its rows are:
    /// id,balance[,opening_balance[,created_at]] or id,source_id,target_id,amount[,created_at]
    #[arg(value_name = "FILE", required_unless_present = "server_side")]
    file: Option<PathBuf>,

    /// On CockroachDB: let the server read the accounts from a URL that it knows, by its IMPORT, as in
    /// http://host/accounts.csv or nodelocal://1/accounts.csv. It takes all of them or none, and the table accounts is offline meanwhile
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "on_error", "rejects"])]
    server_side: Option<String>,

    #[command(flatten)]
    load: load::LoadFlags,

    /// What to do about a row that cannot be added
    #[arg(long, value_enum, default_value_t)]
    on_error: OnBadRow,

    /// Where rows that are skipped are written, as line, reason and row
    #[arg(long, value_name = "FILE", required_if_eq("on_error", "skip"))]
    rejects: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnBadRow {
    /// Stop before its chunk, and say how to go on
    #[default]
    Stop,
    /// Write it to --rejects and go on
    Skip,
}

/// What an import came to.
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
    if args.on_error == OnBadRow::Stop && args.rejects.is_some() {
        return Err(Failure::usage("--rejects is where skipped rows go: add --on-error skip"));
    }
    let source = Source::open(file)?;
    let bank = context.bank_to_write(args.load.at_once()).await?;
    let rejects = args.rejects.as_deref().map(|path| Rejects::create(path, args.load.run.is_some()));
    let mut rejects = rejects.transpose()?;
    let loading = args.load.loading(context, CHUNK);
    let again = load::again(&command(args, file), &loading);
    // A chunk's name is its content's, so that this run takes others too.
    let half =
        Loading { chunk: (loading.chunk.get() / 2).try_into().unwrap_or(loading.chunk), ..loading.clone() };
    let smaller = load::again(&command(args, file), &half);
    context.progress().say(&run_line("import", loading.run));
    context.if_cut_off(interrupted(&format!("to complete it run `{again}`")));

    let started = Instant::now();
    let counting = RefCell::new(context.progress().through(source.size(), "rows"));
    let on_error = if rejects.is_some() { OnError::Skip } else { OnError::Stop };
    let position = source.position();
    let imported = bank
        .import(
            source.into_reader(),
            &loading,
            on_error,
            |imported| {
                counting
                    .borrow_mut()
                    .done_at(imported.rows + imported.found + imported.present, position.get())
            },
            |row| match &mut rejects {
                Some(rejects) => rejects.write(row, |line| counting.borrow().say(line)),
                None => Ok(()),
            },
        )
        .await;
    drop(counting);
    drop(rejects);

    let (imported, failure) = match imported {
        Ok(imported) => (imported, context.interruption(format!("to complete it run `{again}`"))),
        Err((error, imported)) => (imported, Some(failed(&error, &again, &smaller))),
    };
    let keys = keys(imported, bank.counts().retries, started.elapsed().as_secs_f64(), loading.run);
    let text = text(&keys, args);
    Ok(Answer::new(keys, text).but(failure))
}

/// The command that a run is told again with, as a shell reads it.
fn command(args: &Args, file: &Path) -> String {
    let skip = |path: &PathBuf| format!(" --on-error skip --rejects {}", quoted(&path.display().to_string()));
    let file = quoted(&file.display().to_string());
    format!("import {file}{}", args.rejects.as_ref().map(skip).unwrap_or_default())
}

/// As a shell reads it.
fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned)
}

fn failed(error: &ImportError, again: &str, smaller: &str) -> Failure {
    let fail = |kind, remedy: &str| Failure::new(Exit::Failed, kind, format!("{error}; {remedy} `{again}`"));
    match error {
        ImportError::Header(reason) => Failure::usage(format!("the file cannot be imported: {reason}")),
        ImportError::Rejected(_) => {
            fail("rejected", "what was in whole chunks before it is in place: mend the line, then run")
        }
        ImportError::Unreadable(_) => fail("unreadable", "mend the file, then run"),
        ImportError::Unwritable(_) => fail("unwritable", "make room for it, then run"),
        ImportError::Load(error) => match failure::loading(error, again) {
            slow if slow.kind == failure::CHUNK_TIMEOUT => Failure {
                line: format!("{}, as in `{smaller}`, which completes the rest", slow.line),
                ..slow
            },
            failure => load::with_completion(failure, again),
        },
    }
}

fn keys(imported: Imported, retries: u64, seconds: f64, run: Uuid) -> Keys {
    let Imported { rows, found, present, rejected, chunks } = imported;
    Keys { rows, found, present, rejected, chunks, retries, seconds, run }
}

fn text(keys: &Keys, args: &Args) -> String {
    let mut text = format!(
        "Imported {} rows in {}: chunks: {}, retries: {}.",
        keys.rows,
        pace(keys.rows, keys.seconds),
        keys.chunks,
        keys.retries
    );
    if keys.found > 0 {
        text += &format!("\n{} rows of this run were there already.", keys.found);
    }
    if keys.present > 0 {
        text += &format!("\n{} rows were there already, equal to the file's.", keys.present);
    }
    if let Some(rejects) = args.rejects.as_deref().filter(|_| keys.rejected > 0) {
        text += &format!("\n{} rows were left out; they are in {}.", keys.rejected, rejects.display());
    }
    text
}
