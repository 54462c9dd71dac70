//! `export`: writes the bank as CSV.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use terminal::{Exit, Failure, counted, interrupted};

use super::answer::Answer;
use super::context::Context;
use super::output::{Output, unwritable};
use super::progress::pace;
use super::{failure, source};
use crate::bank::Bank;
use crate::bank::export::{ExportError, What};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which rows
    #[arg(value_enum)]
    what: Rows,

    /// A file, gzipped if it ends in .gz, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

const FLAG: &str = "--output";

/// No failure on standard output.
const READER_GONE: &str = "reader_gone";

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
        return match export(context, &bank, args.what, BufWriter::new(io::stdout())).await {
            Ok((rows, _)) => {
                context.progress().say(&text(rows, started));
                Ok(Answer::new(json!({}), ""))
            }
            // As `head` does.
            Err(failure) if failure.kind == READER_GONE => Ok(Answer::new(json!({}), "")),
            Err(failure) => Err(failure),
        };
    }
    let path = args.output.clone();
    let output = context.blocking(move || Output::create(&path, FLAG)).await?;
    let bank = context.bank_for_analysis().await?;
    let rows = if source::is_gzip(&args.output) {
        let packed = GzEncoder::new(output.writer()?, Compression::default());
        let (rows, packed) = export(context, &bank, args.what, packed).await?;
        packed.finish().and_then(|mut file| file.flush()).map_err(|error| unwritable(&error, FLAG))?;
        rows
    } else {
        export(context, &bank, args.what, output.writer()?).await?.0
    };
    output.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Answer::new(json!({ "rows": rows, "seconds": seconds }), text(rows, started)))
}

fn text(rows: u64, started: Instant) -> String {
    format!("Exported {} in {}.", counted(rows, "row"), pace(rows, started.elapsed().as_secs_f64()))
}

async fn export<W: Write + Send + 'static>(
    context: &Context,
    bank: &Bank,
    what: Rows,
    to: W,
) -> Result<(u64, W), Failure> {
    let (what, unit) = match what {
        Rows::Accounts => (What::Accounts, "account"),
        Rows::Transfers => (What::Transfers, "transfer"),
    };
    let mut counting = context.progress().through(None, unit);
    let exported = bank.export(what, to, context.interrupted(), |rows| counting.done(rows)).await;
    exported.map_err(|error| {
        failure::transaction(&error, "", |error| match error {
            ExportError::Stopped => interrupted("what was written is no whole file, run it again"),
            ExportError::Unwritable(gone) if gone.kind() == io::ErrorKind::BrokenPipe => Failure::new(
                Exit::Failed,
                READER_GONE,
                "the reader of the rows has gone: what it has is no whole file",
            ),
            ExportError::Unwritable(error) => unwritable(error, FLAG),
            ExportError::SnapshotLost(_) => {
                Failure::new(Exit::Failed, "snapshot_lost", format!("{error}: run it again"))
            }
            ExportError::Database(error) => failure::of_database(error),
        })
    })
}
