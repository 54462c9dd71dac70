//! `export`: the bank as CSV.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::NamedTempFile;
use terminal::{Exit, Failure};

use super::answer::Answer;
use super::context::Context;
use super::progress::pace;
use super::{failure, import::source};
use crate::bank::Bank;
use crate::bank::export::{ExportError, What};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which rows
    #[arg(value_enum)]
    what: Rows,

    /// Where to: a file, gzipped where its name ends in .gz; or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// id,balance,opening_balance,created_at
    Accounts,
    /// id,source_id,target_id,amount,created_at
    Transfers,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let started = Instant::now();
    if args.output == Path::new("-") {
        if context.answers_in_json() {
            return Err(Failure::usage(
                "the rows go to standard output: give --output FILE with --format json",
            ));
        }
        let bank = context.bank_for_analysis().await?;
        let rows = export(context, &bank, args.what, BufWriter::new(io::stdout().lock())).await?;
        context.progress().say(&text(rows, started));
        return Ok(Answer::new(json!({}), ""));
    }
    let unwritable =
        |error: &dyn Display| Failure::usage(format!("{} cannot be written: {error}", args.output.display()));
    // Under its own name only once it is whole.
    let folder = args.output.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(|error| unwritable(&error))?;
    let bank = context.bank_for_analysis().await?;
    let rows = if source::is_gzip(&args.output) {
        let mut packed = GzEncoder::new(BufWriter::new(&mut file), Compression::default());
        let rows = export(context, &bank, args.what, &mut packed).await?;
        packed.finish().and_then(|mut file| file.flush()).map_err(|error| unwritable(&error))?;
        rows
    } else {
        export(context, &bank, args.what, BufWriter::new(&mut file)).await?
    };
    file.as_file().sync_all().map_err(|error| unwritable(&error))?;
    file.persist(&args.output).map_err(|error| unwritable(&error))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Answer::new(json!({ "rows": rows, "seconds": seconds }), text(rows, started)))
}

fn text(rows: u64, started: Instant) -> String {
    format!("Exported {rows} rows in {}.", pace(rows, started.elapsed().as_secs_f64()))
}

async fn export(context: &Context, bank: &Bank, what: Rows, to: impl Write) -> Result<u64, Failure> {
    let (what, unit) = match what {
        Rows::Accounts => (What::Accounts, "accounts"),
        Rows::Transfers => (What::Transfers, "transfers"),
    };
    let mut counting = context.progress().through(None, unit);
    let exported = bank.export(what, to, context.interrupted(), |rows| counting.done(rows)).await;
    exported.map_err(|error| {
        failure::transaction(&error, "", |error| match error {
            ExportError::Stopped => Failure::new(
                Exit::Interrupted,
                "interrupted",
                "interrupted: what was written is no whole file",
            ),
            ExportError::Unwritable(_) => Failure::new(Exit::Failed, "unwritable", error.to_string()),
            ExportError::SnapshotLost(_) => {
                Failure::new(Exit::Failed, "snapshot_lost", format!("{error}: run it again"))
            }
            ExportError::Database(error) => failure::of_database(error, ""),
        })
    })
}
