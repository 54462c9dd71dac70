//! One page about one load, which stands by itself: it asks for nothing from anywhere.

mod charts;

use std::io::Write;
use std::time::SystemTime;

use indicatif::HumanCount;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};
use serde_json::Value;
use terminal::Failure;

use super::timeline::{Interval, Timeline};
use crate::bank::audit::Audit;
use crate::bank::workload::Meter;
use crate::cli::output::{Output, unwritable};
use charts::{BLUE, GREEN, ORANGE, RED, Step};

/// How fine the distribution is: bars for each power of ten.
const BARS_A_DECADE: f64 = 20.0;

/// What says where the page goes.
pub(super) const FLAG: &str = "--report";

/// What stands on it.
pub(super) struct Page<'a> {
    /// The same that is answered in JSON.
    pub(super) keys: &'a Value,
    /// The latencies.
    pub(super) total: &'a Meter,
    /// How it went.
    pub(super) timeline: &'a Timeline,
    /// What the load was told to do, in words.
    pub(super) settings: &'a [(&'static str, String)],
    /// The last audit, or the first that found the bank broken.
    pub(super) audit: Option<&'a Audit>,
    /// Who answered, in the server's own words.
    pub(super) version: &'a str,
    /// Why the run is no success.
    pub(super) failure: Option<&'a Failure>,
}

impl Page<'_> {
    /// Writes it; says why not, where it cannot be.
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

/// A number: what it is, and how it is shown.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    /// To so many places.
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

/// What the tiles show: a key of the answer, and what it is.
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
                    // Whatever would ask for something is refused.
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

    fn over_time(&self, height: impl Fn(&Interval) -> f64) -> Vec<Step> {
        let intervals = self.timeline.intervals().iter();
        let step = |it: &Interval| Step {
            from: it.from.as_secs_f64(),
            until: it.until.as_secs_f64(),
            height: height(it),
        };
        intervals.map(step).collect()
    }

    fn throughput(&self) -> Markup {
        let rows = self.timeline.intervals().iter().map(|it| {
            let errors = it.endings.failed + it.endings.unknown;
            let counts = [it.endings.transfers, it.endings.skipped, errors, it.audits].map(Number::Whole);
            [&times(it)[..], &counts[..1], &[Number::Real(it.per_second(), 1)], &counts[1..]].concat()
        });
        let head = ["from, s", "until, s", "transfers", "transfers/s", "skipped", "errors", "audits"];
        let picture = charts::bars_over_time(BLUE, &self.over_time(Interval::per_second));
        figure("Transfers a second", &html! {}, &picture, &table(&head, rows))
    }

    fn latencies(&self) -> Markup {
        const LINES: [(&str, f64, charts::Colour); 4] =
            [("p50", 50.0, BLUE), ("p95", 95.0, GREEN), ("p99", 99.0, ORANGE), ("longest", 100.0, RED)];
        let meters: Vec<(&Interval, Meter)> =
            self.timeline.intervals().iter().map(|it| (it, it.meter())).filter(|(_, it)| it.any()).collect();
        let lines = LINES.map(|(_, percentile, colour)| {
            let step = |(it, meter): &(&Interval, Meter)| Step {
                from: it.from.as_secs_f64(),
                until: it.until.as_secs_f64(),
                height: meter.percentile_ms(percentile),
            };
            (colour, meters.iter().map(step).collect())
        });
        let legend = html! {
            @for (name, _, colour) in LINES { span { (charts::sample(colour)) " " (name) } }
        };
        let rows = meters.iter().map(|(it, meter)| {
            let latencies = LINES.map(|(_, percentile, _)| Number::Real(meter.percentile_ms(percentile), 3));
            [&times(it)[..], &latencies].concat()
        });
        let head = ["from, s", "until, s", "p50", "p95", "p99", "longest"];
        figure("Latency in milliseconds", &legend, &charts::latencies_over_time(&lines), &table(&head, rows))
    }

    fn distribution(&self) -> Markup {
        let all = self.total.latencies.len();
        let mut bars: Vec<(i32, u64)> = Vec::new();
        for value in self.total.latencies.iter_recorded() {
            let milliseconds = value.value_iterated_to().max(1) as f64 / 1000.0;
            let bar = (milliseconds.log10() * BARS_A_DECADE).floor() as i32;
            match bars.last_mut() {
                Some((last, count)) if *last == bar => *count += value.count_since_last_iteration(),
                _ => bars.push((bar, value.count_since_last_iteration())),
            }
        }
        let edge = |bar: i32| 10_f64.powf(f64::from(bar) / BARS_A_DECADE);
        let per_cent = |count: u64| 100.0 * count as f64 / all.max(1) as f64;
        let step = |(bar, count): &(i32, u64)| Step {
            from: edge(*bar),
            until: edge(bar + 1),
            height: per_cent(*count),
        };
        let steps: Vec<Step> = bars.iter().map(step).collect();
        let mut so_far = 0;
        let rows = bars.iter().zip(&steps).map(|((_, count), step)| {
            so_far += count;
            vec![
                Number::Real(step.from, 3),
                Number::Real(step.until, 3),
                Number::Whole(*count),
                Number::Real(step.height, 2),
                Number::Real(per_cent(so_far), 2),
            ]
        });
        let head = ["from, ms", "until, ms", "transfers", "%", "% so far"];
        let table = table(&head, rows);
        figure(
            "Latency distribution: % of transfers by milliseconds",
            &html! {},
            &charts::distribution(BLUE, &steps),
            &table,
        )
    }

    fn retries(&self) -> Markup {
        let rows = self.timeline.intervals().iter();
        let rows = rows.map(|it| [&times(it)[..], &[Number::Whole(it.retries)]].concat());
        let by_code = self.keys["retries_by_sqlstate"].as_object().into_iter().flatten();
        let by_code = html! {
            @if self.keys["retries"] == 0 { span { "none" } }
            @for (code, count) in by_code { span data-sqlstate=(code) { (code) ": " (Number::of(count)) } }
        };
        let steps = self.over_time(|it| it.retries as f64);
        let table = table(&["from, s", "until, s", "retries"], rows);
        figure("Retries, by SQLSTATE and over time", &by_code, &charts::bars_over_time(RED, &steps), &table)
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

/// When an interval was, in seconds.
fn times(interval: &Interval) -> [Number; 2] {
    [interval.from, interval.until].map(|time| Number::Real(time.as_secs_f64(), 2))
}

fn figure(caption: &str, legend: &Markup, picture: &str, table: &Markup) -> Markup {
    html! {
        figure {
            figcaption { (caption) }
            div.legend { (legend) }
            div role="img" aria-label={ (caption) ": the table below has the numbers" } { (PreEscaped(picture)) }
            details { summary { "Table" } (table) }
        }
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<Number>>) -> Markup {
    html! {
        div.table { table {
            thead { tr { @for name in head { th { (name) } } } }
            tbody { @for row in rows { tr { @for number in row { td { (number) } } } } }
        } }
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
