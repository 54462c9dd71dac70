//! `import`: adding the rows of a file.

mod rejects;
mod server_side;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use serde::Serialize;
use terminal::{CommandLine, Exit, Failure, counted, counted_were};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::progress::{pace, run_line};
use super::source::Source;
use super::{failure, load};
use crate::bank::import::{ImportError, Imported, OnError};
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

    /// Where rows that are skipped are written, as line, reason and row; the row as it was, so a spreadsheet may take it for a formula
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
    let path = file.to_owned();
    let source = context.blocking(move || Source::open(&path)).await?;
    let bank = context.bank(args.load.at_once()).await?;
    let (path, told_again) = (args.rejects.clone(), args.load.run.is_some());
    let create = move || path.map(|path| Rejects::create(&path, told_again)).transpose();
    let mut rejects = context.blocking(create).await?;
    let loading = args.load.loading(context, CHUNK);
    let again = load::again(command(args, file), &loading);
    context.progress().say(&run_line("import", loading.run));

    let started = Instant::now();
    let counting = RefCell::new(context.progress().through(source.size(), "row"));
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
        Err((error, imported)) => (imported, Some(failed(&error, &again))),
    };
    let keys = keys(imported, bank.counts().retries, started.elapsed().as_secs_f64(), loading.run);
    let text = text(&keys, args);
    Ok(Answer::new(keys, text).but(failure))
}

/// The command that a run is told again with.
fn command(args: &Args, file: &Path) -> CommandLine {
    let command = CommandLine::new("import").argument(file.display());
    match &args.rejects {
        Some(path) => command.flag("--on-error", "skip").flag("--rejects", path.display()),
        None => command,
    }
}

fn failed(error: &ImportError, again: &str) -> Failure {
    let fail = |kind, remedy: &str| Failure::new(Exit::Failed, kind, format!("{error}; {remedy} `{again}`"));
    match error {
        ImportError::Header(reason) => Failure::usage(format!("the file cannot be imported: {reason}")),
        ImportError::Rejected(_) => {
            fail("rejected", "what was in whole chunks before it is in place: mend the line, then run")
        }
        ImportError::Unreadable(_) => fail("unreadable", "mend the file, then run"),
        ImportError::NoTemporary(_) => {
            Failure::usage(format!("{error}: set the variable TMPDIR to a folder where this user may write"))
        }
        ImportError::Unwritable(_) => fail("unwritable", "make room for it, then run"),
        ImportError::Load(error) => load::with_completion(failure::loading(error, again), again),
    }
}

fn keys(imported: Imported, retries: u64, seconds: f64, run: Uuid) -> Keys {
    let Imported { rows, found, present, rejected, chunks } = imported;
    Keys { rows, found, present, rejected, chunks, retries, seconds, run }
}

fn text(keys: &Keys, args: &Args) -> String {
    let mut text = format!(
        "Imported {} in {}: chunks: {}, retries: {}.",
        counted(keys.rows, "row"),
        pace(keys.rows, keys.seconds),
        keys.chunks,
        keys.retries
    );
    if keys.found > 0 {
        text += &format!("\n{} there already, of this run.", counted_were(keys.found, "row"));
    }
    if keys.present > 0 {
        text += &format!("\n{} there already, equal to the file's.", counted_were(keys.present, "row"));
    }
    if let Some(rejects) = args.rejects.as_deref().filter(|_| keys.rejected > 0) {
        text += &format!("\n{} left out: see {}.", counted_were(keys.rejected, "row"), rejects.display());
    }
    text
}
