//! The answer of `workload`: its keys, its text, and why it failed.

use std::collections::BTreeMap;
use std::num::NonZero;

use serde::Serialize;
use terminal::{Exit, Failure, counted, grouped, wrapped};
use uuid::Uuid;

use super::args::Args;
use super::lines::Lines;
use crate::bank::audit::Audit;
use crate::bank::workload::{Ended, Meter, Workload};
use crate::cli::transfer::settling;
use crate::cli::{audit, failure, retries};

#[derive(Debug, Serialize)]
pub(super) struct Keys {
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
    /// The last, or the first that found the bank broken; null if it could not be read.
    audit: Option<Audit>,
    style: &'static str,
    /// Transfers in one transaction; null for one.
    batch: Option<NonZero<usize>>,
    concurrency: u32,
    run: Uuid,
    rng_seed: u64,
}

impl Keys {
    pub(super) fn of(ended: &Ended, load: &Workload) -> Self {
        let (Meter { endings, .. }, counts) = (&ended.total, &ended.counts);
        let seconds = ended.took.as_secs_f64();
        Self {
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

    pub(super) fn text(&self, ended: &Ended, lines: Lines) -> String {
        let total = lines.total(&ended.total, ended.took, self.retries);
        let [skipped, failed, unknown, already_applied] =
            [self.skipped, self.failed, self.unknown, self.already_applied].map(grouped);
        let retries = retries::in_words(&self.retries_by_sqlstate);
        let audits = counted(self.audits, "audit");
        let last = match &ended.audit {
            Some(Ok(audit)) => format!("; the last one:\n{}", audit::text(audit)),
            Some(Err(_)) => "; the last one:".to_owned(),
            None => "; the last one was interrupted.".to_owned(),
        };
        let endings = format!(
            "{skipped} skipped (insufficient funds), {failed} failed, {unknown} unknown, \
             {already_applied} already applied; {retries}."
        );
        format!("{total}\n{}\n{audits}{last}", wrapped(&endings, 0))
    }
}

/// Why the run is no success, the gravest reason first.
pub(super) fn failed(ended: &Ended, args: &Args) -> Option<Failure> {
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
    // An unknown transfer is graver than a first one that failed.
    let exit = if endings.unknown > 0 { Exit::Unknown } else { failure.exit };
    (endings.unknown > 0 || !args.tolerate_errors).then_some(Failure { line, exit, ..failure })
}
