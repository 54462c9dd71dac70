//! The figures: a chart and the table of its numbers.

use maud::{Markup, PreEscaped, html};

use super::charts::{self, BLUE, GREEN, ORANGE, RED, Step};
use super::{Number, Page};
use crate::bank::workload::Meter;
use crate::cli::workload::timeline::Interval;

const BARS_A_DECADE: f64 = 20.0;

impl Page<'_> {
    fn over_time(&self, height: impl Fn(&Interval) -> f64) -> Vec<Step> {
        let intervals = self.timeline.intervals().iter();
        let step = |it: &Interval| Step {
            from: it.from.as_secs_f64(),
            until: it.until.as_secs_f64(),
            height: height(it),
        };
        intervals.map(step).collect()
    }

    pub(super) fn throughput(&self) -> Markup {
        let rows = self.timeline.intervals().iter().map(|it| {
            let errors = it.endings.failed + it.endings.unknown;
            let counts = [it.endings.transfers, it.endings.skipped, errors, it.audits].map(Number::Whole);
            [&times(it)[..], &counts[..1], &[Number::Real(it.per_second(), 1)], &counts[1..]].concat()
        });
        let head = ["from, s", "until, s", "transfers", "transfers/s", "skipped", "errors", "audits"];
        let picture = charts::bars_over_time(BLUE, &self.over_time(Interval::per_second));
        figure("Transfers a second", &html! {}, &picture, &table(&head, rows))
    }

    pub(super) fn latencies(&self) -> Markup {
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

    pub(super) fn distribution(&self) -> Markup {
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

    pub(super) fn retries(&self) -> Markup {
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
}

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
