//! The settings of a load, in words.

use std::time::Duration;

use database::Address;

use crate::bank::workload::{Skew, Workload};

/// Names and values.
pub(in crate::cli::workload) fn settings(address: &Address, load: &Workload) -> Vec<(&'static str, String)> {
    let drawn = match load.skew {
        Skew::Even => "drawn alike".to_owned(),
        Skew::Hot(hot) => format!("the first {hot} in nine of ten transfers"),
        Skew::Zipf(exponent) => format!("drawn by Zipf's law with exponent {exponent}"),
    };
    let style = load.batch.map(|size| format!("batches of up to {size}"));
    let rate = load.rate.map(|rate| format!("{rate} a second"));
    let audits_read = load.audit_as_of.map(|ago| format!("{} ago", time(ago)));
    let errors = if load.tolerate_errors { "tolerated" } else { "the first one ends it" };
    vec![
        ("database", address.to_string()),
        ("style", style.unwrap_or_else(|| load.style.name().to_owned())),
        ("workers", load.concurrency.to_string()),
        ("transfers begin", rate.unwrap_or_else(|| "as the workers manage".to_owned())),
        ("load grows for", time(load.ramp)),
        ("ends", end(load)),
        ("accounts", format!("the first {}, {drawn}", load.accounts)),
        ("amount", load.amount.map(|amount| amount.to_string()).unwrap_or_default()),
        ("audit every", load.audit_every.map_or("never".to_owned(), time)),
        ("audits read", audits_read.unwrap_or_else(|| "the present".to_owned())),
        ("errors", errors.to_owned()),
        ("run", load.run.to_string()),
        ("rng seed", load.rng_seed.to_string()),
    ]
}

fn end(load: &Workload) -> String {
    match (load.duration, load.max_ops) {
        (Some(duration), Some(most)) => format!("after {}, or {most} transfers", time(duration)),
        (Some(duration), None) => format!("after {}", time(duration)),
        (None, most) => format!("after {} transfers", most.unwrap_or_default()),
    }
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
