//! The flags of `workload`.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use database::Server;
use terminal::Failure;
use uuid::Uuid;

use crate::bank::Amount;
use crate::bank::workload::{Skew, Workload};
use crate::cli::load::count;
use crate::cli::transfer::StyleName;
use crate::cli::values::{LONGEST, concurrency, exponent, rate, time};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Stop after this time [default: 10s if --count is not given]
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// Stop after this many transfers
    #[arg(long, alias = "max-ops", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = concurrency())]
    pub(super) concurrency: u32,

    /// Begin N transfers a second
    ///
    /// They begin whether or not earlier ones have ended, and latency counts from when a transfer
    /// was due. Without it each worker begins a transfer when its last one ends.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Let the load grow for this time
    ///
    /// The rate grows, or without --rate the number of workers.
    #[arg(long, value_name = "TIME", value_parser = time("0s", LONGEST), allow_hyphen_values = true, default_value = "0s")]
    ramp: Duration,

    /// How a transfer is done
    #[arg(long, value_enum, default_value_t)]
    style: StyleName,

    /// Apply N transfers in each transaction [default: 1]
    ///
    /// They are applied as `pay` does; with --rate those that are due, at most N. Latency counts for
    /// each transfer.
    #[arg(long, alias = "batch", value_name = "N", value_parser = count, conflicts_with = "style")]
    chunk: Option<NonZero<usize>>,

    /// Use the first N accounts of the bank
    ///
    /// All accounts are used if the bank has fewer.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    accounts: u64,

    /// Nine of ten transfers are between the first K of them
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..), conflicts_with = "zipf")]
    hot: Option<u32>,

    /// Draw the accounts by Zipf's law, the first most often
    #[arg(long, value_name = "EXPONENT", value_parser = exponent)]
    zipf: Option<f64>,

    /// The amount of a transfer, in whole minor units
    #[arg(long, value_name = "UNITS", default_value = "1", allow_negative_numbers = true)]
    pub(super) amount: Amount,

    /// Audit the totals this often; 0s for never
    #[arg(long, value_name = "TIME", value_parser = time("0s", LONGEST), allow_hyphen_values = true, default_value = "1s")]
    audit_every: Duration,

    /// CockroachDB: these audits read the bank of so long ago
    ///
    /// They wait for no writer then. The last audit reads the present.
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true)]
    pub(super) audit_as_of: Option<Duration>,

    /// Go on after a transfer fails or stays unknown
    #[arg(long)]
    pub(super) tolerate_errors: bool,

    /// Print a line this often
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true, default_value = "1s")]
    pub(super) display_every: Duration,

    /// Draw the same accounts as an earlier run
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,

    /// Complete the run with this id
    ///
    /// Transfers that are applied already are not applied again.
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,

    /// Write the latencies as an HdrHistogram log
    ///
    /// It has one histogram for each interval, in microseconds.
    #[arg(long, value_name = "FILE")]
    pub(super) histogram: Option<PathBuf>,

    /// Write an HTML page with charts and tables
    ///
    /// They show throughput, latencies, retries and audits.
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
}

/// Without --duration and --count.
const DURATION: Duration = Duration::from_secs(10);

impl Args {
    /// The workload on a server. Ids and seeds that are not given are random.
    pub(super) fn workload(&self, server: Server) -> Result<Workload, Failure> {
        Ok(Workload {
            run: self.run.unwrap_or_else(Uuid::new_v4),
            style: self.style.on(server)?,
            batch: self.chunk,
            amount: Some(self.amount),
            accounts: self.accounts,
            skew: self.skew(),
            rng_seed: self.rng_seed.unwrap_or_else(rand::random),
            concurrency: self.concurrency,
            duration: self.duration.or(Some(DURATION).filter(|_| self.count.is_none())),
            max_ops: self.count,
            rate: self.rate,
            ramp: self.ramp,
            audit_every: Some(self.audit_every).filter(|every| !every.is_zero()),
            audit_as_of: self.audit_as_of,
            tolerate_errors: self.tolerate_errors,
        })
    }

    fn skew(&self) -> Skew {
        match (self.hot, self.zipf) {
            (Some(hot), _) => Skew::Hot(hot as usize),
            (None, Some(exponent)) => Skew::Zipf(exponent),
            (None, None) => Skew::Even,
        }
    }
}
