//! `workload`: load for as long as asked, told as it goes, with audits beside it.

mod lines;
mod report;
mod timeline;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use database::Address;
use serde::Serialize;
use terminal::{Exit, Failure, counted};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use super::output::Output;
use super::progress::run_line;
use super::transfer::{StyleName, settling};
use super::values::{LONGEST, concurrency, exponent, rate, time};
use super::{audit, failure, retries};
use crate::bank::Amount;
use crate::bank::audit::Audit;
use crate::bank::workload::{Ended, IntervalReport, Meter, Skew, Workload};
use lines::{HistogramLog, Lines};
use report::Page;
use timeline::Timeline;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For how long, as in 90s or 10m [default: 10s where no --count is given]
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// The most transfers
    #[arg(long = "count", alias = "max-ops", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_ops: Option<u64>,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = concurrency())]
    concurrency: u32,

    /// Begin so many transfers a second, whether or not those before have ended; latency counts from when one is due
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Let the load grow for so long: the rate, or else the number of workers
    #[arg(long, value_name = "TIME", value_parser = time("0s", LONGEST), allow_hyphen_values = true, default_value = "0s")]
    ramp: Duration,

    /// How each transfer is done
    #[arg(long, value_enum, default_value_t)]
    style: StyleName,

    /// Do so many transfers in one transaction, as `pay` does; with --rate those that are due, up to so many. Latency
    /// counts for each transfer
    #[arg(long = "chunk", alias = "batch", value_name = "N", value_parser = super::load::count, conflicts_with = "style")]
    batch: Option<NonZero<usize>>,

    /// Between so many accounts, the first of the bank; all there are where it has fewer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    accounts: u64,

    /// Nine of ten transfers are between the first so many of them
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..), conflicts_with = "zipf")]
    hot: Option<u32>,

    /// Draw the accounts by Zipf's law with this exponent: the first most often
    #[arg(long, value_name = "EXPONENT", value_parser = exponent)]
    zipf: Option<f64>,

    /// How much each moves, in whole minor units
    #[arg(long, value_name = "UNITS", default_value = "1", allow_negative_numbers = true)]
    amount: Amount,

    /// How often the totals are audited meanwhile; 0s for never
    #[arg(long, value_name = "TIME", value_parser = time("0s", LONGEST), allow_hyphen_values = true, default_value = "1s")]
    audit_every: Duration,

    /// On CockroachDB: audit what was there so long ago, which waits for no writer; the last audit reads the present
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true)]
    audit_as_of: Option<Duration>,

    /// Go on where a transfer fails or stays unknown
    #[arg(long)]
    tolerate_errors: bool,

    /// How often a line is told
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true, default_value = "1s")]
    display_every: Duration,

    /// Draw the same accounts as a run before
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,

    /// Complete the run with this id: its transfers that are applied already are not applied again
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,

    /// Write the latencies of each interval as an HdrHistogram log, in microseconds
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,

    /// Write a page about it: throughput, latencies, retries and audits, as pictures and tables
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Where neither an end nor a number is given.
const DURATION: Duration = Duration::from_secs(10);

impl Args {
    fn skew(&self) -> Skew {
        match (self.hot, self.zipf) {
            (Some(hot), _) => Skew::Hot(hot as usize),
            (None, Some(exponent)) => Skew::Zipf(exponent),
            (None, None) => Skew::Even,
        }
    }

    fn duration(&self) -> Option<Duration> {
        self.duration.or(Some(DURATION).filter(|_| self.max_ops.is_none()))
    }
}

#[derive(Debug, Serialize)]
struct Keys {
    transfers: u64,
    already_applied: u64,
    skipped: u64,
    failed: u64,
    unknown: u64,
    per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    attempts: u64,
    retries: u64,
    retries_by_sqlstate: BTreeMap<String, u64>,
    seconds: f64,
    audits: u64,
    /// The last, or the first that found the bank broken; null where it could not be read.
    audit: Option<Audit>,
    style: &'static str,
    /// How many transfers in one transaction; null where each is one.
    batch: Option<NonZero<usize>>,
    concurrency: u32,
    run: Uuid,
    rng_seed: u64,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let address = context.address()?;
    // First: where connections are few it gets one of them.
    let auditor = context.bank_for_analysis().await?;
    let database = context.connect_to_write(args.concurrency).await?;
    let bank = context.migrated_bank(&database).await?;
    audit::check_as_of(&bank, "--audit-as-of", args.audit_as_of).await?;
    let load = Workload {
        run: args.run.unwrap_or_else(Uuid::new_v4),
        style: args.style.on(bank.server())?,
        batch: args.batch,
        amount: Some(args.amount),
        accounts: args.accounts,
        skew: args.skew(),
        rng_seed: args.rng_seed.unwrap_or_else(rand::random),
        concurrency: args.concurrency,
        duration: args.duration(),
        max_ops: args.max_ops,
        rate: args.rate,
        ramp: args.ramp,
        audit_every: Some(args.audit_every).filter(|every| !every.is_zero()),
        audit_as_of: args.audit_as_of,
        tolerate_errors: args.tolerate_errors,
    };
    let (log, page) = (args.histogram.clone(), args.report.clone());
    let create = move || {
        let log = log.as_deref().map(HistogramLog::create).transpose()?;
        Ok((log, page.as_deref().map(|path| Output::create(path, report::FLAG)).transpose()?))
    };
    let (mut histogram, report) = context.blocking(create).await?;
    context.progress().say(&run_line("workload", load.run));

    let lines = RefCell::new(Lines::new(context.progress()));
    let timeline = RefCell::new(Timeline::new());
    let look = |look: IntervalReport<'_>| {
        lines.borrow_mut().tell(look);
        if let Some(histogram) = &mut histogram {
            histogram.write(look);
        }
        if report.is_some() {
            timeline.borrow_mut().take_down(look);
        }
    };
    let stop = context.interrupted().clone();
    let ended = bank.load(&auditor, load.clone(), args.display_every, stop, look).await;
    let ended = ended.map_err(|error| failure::drawing(&error))?;
    let unwritten = histogram.and_then(HistogramLog::finish);

    let keys = keys(&ended, &load);
    let text = text(&keys, &ended, lines.into_inner());
    let failure =
        failed(&ended, args).or(unwritten).or_else(|| context.interruption("the totals are those so far"));
    let answer = Answer::new(keys, text);
    let unwritten = report.and_then(|output| {
        let page = Page {
            keys: &answer.keys(),
            total: &ended.total,
            timeline: &timeline.into_inner(),
            settings: &settings(&address, args, &load),
            audit: ended.audit.as_ref().and_then(|audit| audit.as_ref().ok()),
            version: &database.version,
            failure: failure.as_ref(),
        };
        page.write(output)
    });
    Ok(answer.but(failure.or(unwritten)))
}

fn keys(ended: &Ended, load: &Workload) -> Keys {
    let (Meter { endings, .. }, counts) = (&ended.total, &ended.counts);
    let seconds = ended.took.as_secs_f64();
    Keys {
        transfers: endings.transfers,
        already_applied: endings.already_applied,
        skipped: endings.skipped,
        failed: endings.failed,
        unknown: endings.unknown + ended.cut_off.len() as u64,
        per_second: endings.transfers as f64 / seconds.max(0.001),
        p50_ms: ended.total.percentile_ms(50.0),
        p95_ms: ended.total.percentile_ms(95.0),
        p99_ms: ended.total.percentile_ms(99.0),
        max_ms: ended.total.max_ms(),
        attempts: counts.attempts,
        retries: counts.retries,
        retries_by_sqlstate: counts.retries_by_sqlstate.clone(),
        seconds,
        audits: ended.audits,
        audit: ended.audit.as_ref().and_then(|audit| audit.as_ref().ok()).cloned(),
        style: if load.batch.is_some() { "batch" } else { load.style.name() },
        batch: load.batch,
        concurrency: load.concurrency,
        run: load.run,
        rng_seed: load.rng_seed,
    }
}

/// What the load was told to do, in words.
fn settings(address: &Address, args: &Args, load: &Workload) -> Vec<(&'static str, String)> {
    let time = |time| humantime::format_duration(time).to_string();
    let drawn = match load.skew {
        Skew::Even => "drawn alike".to_owned(),
        Skew::Hot(hot) => format!("the first {hot} in nine of ten transfers"),
        Skew::Zipf(exponent) => format!("drawn by Zipf's law with exponent {exponent}"),
    };
    let end = match (load.duration, load.max_ops) {
        (Some(duration), Some(most)) => format!("after {}, or {most} transfers", time(duration)),
        (Some(duration), None) => format!("after {}", time(duration)),
        (None, most) => format!("after {} transfers", most.unwrap_or_default()),
    };
    let rate = load.rate.map_or("as the workers manage".to_owned(), |rate| format!("{rate} a second"));
    vec![
        ("database", address.to_string()),
        (
            "style",
            load.batch
                .map_or_else(|| load.style.name().to_owned(), |size| format!("batches of up to {size}")),
        ),
        ("workers", load.concurrency.to_string()),
        ("transfers begin", rate),
        ("load grows for", time(load.ramp)),
        ("ends", end),
        ("accounts", format!("the first {}, {drawn}", load.accounts)),
        ("amount", args.amount.to_string()),
        ("audit every", load.audit_every.map_or("never".to_owned(), time)),
        (
            "audits read",
            load.audit_as_of.map_or("the present".to_owned(), |ago| format!("{} ago", time(ago))),
        ),
        ("errors", if load.tolerate_errors { "tolerated" } else { "the first one ends it" }.to_owned()),
        ("run", load.run.to_string()),
        ("rng seed", load.rng_seed.to_string()),
    ]
}

fn text(keys: &Keys, ended: &Ended, lines: Lines) -> String {
    let mut text = lines.total(&ended.total, ended.took, keys.retries);
    text += &format!(
        "\n{} skipped (insufficient funds), {} failed, {} unknown, {} already applied; {}.",
        keys.skipped,
        keys.failed,
        keys.unknown,
        keys.already_applied,
        retries::in_words(&keys.retries_by_sqlstate)
    );
    let audits = counted(keys.audits, "audit");
    match &ended.audit {
        Some(Ok(audit)) => {
            text += &format!(
                "
{audits}; the last one:
{}",
                audit::text(audit)
            )
        }
        Some(Err(_)) => {
            text += &format!(
                "
{audits}; the last one:"
            )
        }
        None => {
            text += &format!(
                "
{audits}; the last one was interrupted."
            )
        }
    }
    text
}

/// Why the run is no success, the gravest first.
fn failed(ended: &Ended, args: &Args) -> Option<Failure> {
    match &ended.audit {
        Some(Ok(audit)) if !audit.ok => return Some(audit::broken()),
        Some(Ok(_)) | None => {}
        Some(Err(error)) => return Some(failure::reading(error)),
    }
    if let Some(first) = ended.cut_off.first() {
        let line = format!(
            "interrupted: {} that had begun cannot be known; to settle the first run `{}`",
            counted(ended.cut_off.len() as u64, "transfer"),
            settling(first, Some(args.amount))
        );
        return Some(Failure::new(Exit::Unknown, "unknown", line));
    }
    let (order, error) = ended.first_error.as_ref()?;
    let failure = failure::transferring(error, &settling(order, Some(args.amount)));
    let endings = ended.total.endings;
    let line = format!(
        "{} failed and {} unknown, the first, {}: {}",
        counted(endings.failed, "transfer"),
        endings.unknown,
        order.id,
        failure.line
    );
    // Some that are unknown weigh more than a first one that failed.
    let exit = if endings.unknown > 0 { Exit::Unknown } else { failure.exit };
    (endings.unknown > 0 || !args.tolerate_errors).then_some(Failure { line, exit, ..failure })
}
