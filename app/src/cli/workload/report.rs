//! The self-contained HTML page of `--report`.

mod charts;
mod figures;
mod settings;

use std::io::Write;
use std::time::SystemTime;

use indicatif::HumanCount;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};
use serde_json::Value;
use terminal::Failure;

use super::timeline::Timeline;
use crate::bank::audit::Audit;
use crate::bank::workload::Meter;
use crate::cli::output::{Output, unwritable};

pub(super) use settings::settings;

/// The flag, for messages.
pub(super) const FLAG: &str = "--report";

pub(super) struct Page<'a> {
    /// The JSON answer.
    pub(super) keys: &'a Value,
    pub(super) total: &'a Meter,
    pub(super) timeline: &'a Timeline,
    pub(super) settings: &'a [(&'static str, String)],
    /// The last, or the first that found the bank broken.
    pub(super) audit: Option<&'a Audit>,
    /// The server's.
    pub(super) version: &'a str,
    pub(super) failure: Option<&'a Failure>,
}

impl Page<'_> {
    pub(super) fn write(&self, output: Output) -> Option<Failure> {
        let text = self.render().into_string();
        let mut file = match output.writer() {
            Ok(file) => file,
            Err(failure) => return Some(failure),
        };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.flush());
        drop(file);
        match written {
            Ok(()) => output.finish().err(),
            Err(error) => Some(unwritable(&error, FLAG)),
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    /// With this many decimal places.
    Real(f64, usize),
}

impl Number {
    fn of(value: &Value) -> Self {
        value.as_u64().map_or_else(|| Self::Real(value.as_f64().unwrap_or_default(), 2), Self::Whole)
    }
}

impl Render for Number {
    fn render(&self) -> Markup {
        match *self {
            Self::Whole(count) => html! { data value=(count) { (HumanCount(count).to_string()) } },
            Self::Real(number, places) => html! { data value=(number) { (format!("{number:.places$}")) } },
        }
    }
}

/// Keys of the answer with their labels.
const TILES: [(&str, &str); 11] = [
    ("transfers", "transfers"),
    ("per_second", "transfers/s"),
    ("p50_ms", "p50, ms"),
    ("p95_ms", "p95, ms"),
    ("p99_ms", "p99, ms"),
    ("max_ms", "longest, ms"),
    ("retries", "retries"),
    ("skipped", "skipped"),
    ("failed", "failed"),
    ("unknown", "unknown"),
    ("audits", "audits"),
];

impl Render for Page<'_> {
    fn render(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    // No request leaves the page.
                    meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                    link rel="icon" href="data:,";
                    title { "Seabank: load on " (self.version) }
                    style { (PreEscaped(include_str!("report/style.css"))) }
                }
                body {
                    (self.head())
                    div.figures { (self.throughput()) (self.latencies()) (self.distribution()) (self.retries()) }
                    (self.audits())
                    (self.settings())
                    p.dim {
                        "Written by Seabank " (env!("CARGO_PKG_VERSION")) " at "
                        (humantime::format_rfc3339_seconds(SystemTime::now()).to_string()) "."
                    }
                }
            }
        }
    }
}

impl Page<'_> {
    fn number(&self, key: &str) -> Number {
        Number::of(&self.keys[key])
    }

    fn head(&self) -> Markup {
        html! {
            h1 { "Load on " (self.version) }
            p { (self.number("transfers")) (if self.keys["transfers"] == 1 { " transfer in " } else { " transfers in " }) (self.number("seconds")) " s. " (self.verdict()) }
            @if let Some(failure) = self.failure { p.bad { (failure.line) } }
            dl.tiles {
                @for (key, what) in TILES {
                    div { dt { (what) } dd data-key=(key) { (self.number(key)) } }
                }
            }
        }
    }

    fn verdict(&self) -> Markup {
        match self.audit.map(|audit| audit.ok) {
            Some(true) => html! { strong.good { "The bank is whole." } },
            Some(false) => html! { strong.bad { "The bank is broken." } },
            None => html! { strong.bad { "The bank could not be audited." } },
        }
    }

    fn audits(&self) -> Markup {
        html! {
            h2 { "Audits" }
            p { (self.number("audits")) " while it ran and after it, each in one snapshot. " (self.verdict()) }
            @if let Some(audit) = self.audit {
                div.table { table.words {
                    tr { th { "accounts" } td data-audit="accounts" { (audit.accounts) } }
                    tr { th { "transfers" } td data-audit="transfers" { (audit.transfers) } }
                    tr { th { "balances add up to" } td data-audit="balance_total" { (audit.balance_total) } }
                    tr { th { "opening balances to" } td data-audit="opening_total" { (audit.opening_total) } }
                    @for violation in &audit.violations {
                        tr { th.bad { (violation.rule) } td { (violation.id) " " (violation.found) } }
                    }
                } }
            }
        }
    }

    fn settings(&self) -> Markup {
        html! {
            h2 { "Settings" }
            div.table { table.words {
                @for (name, value) in self.settings { tr { th { (name) } td { (value) } } }
                tr { th { "server" } td { (self.version) } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_of_the_pictures_has_another_in_the_dark() {
        let style = include_str!("report/style.css");
        for colour in charts::ALL {
            let name = charts::name(colour);
            assert!(style.contains(&format!("=\"{name}\"] {{")), "{name}");
        }
    }
}
