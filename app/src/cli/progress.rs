//! Progress on standard error: a bar or a spinner on a terminal, lines elsewhere, nothing if quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use terminal::{counted, erase_bar, grouped, say, show_bar};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::answer::Format;

const LINE_EVERY: Duration = Duration::from_secs(5);

const SPINNER_AFTER: Duration = Duration::from_millis(300);
const SPINNER_TURNS_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    quiet: bool,
    draws: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool, format: Format) -> Self {
        Self { quiet, draws: !quiet && format == Format::Text && std::io::stderr().is_terminal() }
    }

    pub(super) fn say(self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }

    pub(super) fn towards(self, total: u64, unit: &'static str) -> Counting {
        self.count(Some(total), unit)
    }

    pub(super) fn through(self, bytes: Option<u64>, unit: &'static str) -> Counting {
        self.count(bytes, unit)
    }

    fn count(self, total: Option<u64>, unit: &'static str) -> Counting {
        let template =
            if total.is_some() { "{wide_bar} {percent} % {msg}, {eta} left" } else { "{spinner} {msg}" };
        let bar = hidden(template);
        if let Some(total) = total {
            bar.set_length(total);
        }
        if self.draws {
            show_bar(&bar);
        }
        let now = Instant::now();
        let lines = !self.quiet && !self.draws;
        Counting { bar, lines, started: now, last_line: now, total, unit }
    }

    /// Call it inside a runtime.
    pub(super) fn spinner(self, what: &'static str) -> Spinner {
        let bar = hidden("{spinner} {elapsed} {msg}").with_message(what);
        let shown = bar.clone();
        let start = self.draws.then(|| {
            let task = tokio::spawn(async move {
                tokio::time::sleep(SPINNER_AFTER).await;
                show_bar(&shown);
                shown.enable_steady_tick(SPINNER_TURNS_EVERY);
            });
            task.abort_handle()
        });
        Spinner { bar, start }
    }
}

fn hidden(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template that indicatif knows");
    ProgressBar::hidden().with_style(style)
}

#[derive(Debug)]
pub(super) struct Spinner {
    bar: ProgressBar,
    start: Option<AbortHandle>,
}

impl Spinner {
    pub(super) fn now(&self, what: &'static str) {
        self.bar.set_message(what);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(start) = &self.start {
            start.abort();
        }
        erase_bar(&self.bar);
    }
}

/// The line with the id of a run, printed before it begins: the same command with `--run ID` completes it.
pub(super) fn run_line(kind: &str, run: Uuid) -> String {
    format!("{kind} run {run}: to resume it, add --run ID")
}

/// A duration, and the rate unless the duration is too short for one.
pub(super) fn pace(count: u64, seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.2} s ({} a second)", rate(count as f64 / seconds))
    }
}

/// A rate without a fraction.
fn rate(per_second: f64) -> String {
    grouped(per_second.round() as u64)
}

#[derive(Debug)]
pub(super) struct Counting {
    bar: ProgressBar,
    lines: bool,
    started: Instant,
    last_line: Instant,
    total: Option<u64>,
    unit: &'static str,
}

impl Counting {
    pub(super) fn done(&mut self, count: u64) {
        self.done_at(count, count);
    }

    pub(super) fn done_at(&mut self, count: u64, position: u64) {
        let per_second = count as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        self.at(format!("{}, {} a second", counted(count, self.unit), rate(per_second)), position);
    }

    pub(super) fn at(&mut self, what: String, position: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.lines && self.last_line.elapsed() >= LINE_EVERY {
            let ahead = self.total.filter(|_| position > 0).map(|total| {
                let left = seconds * (total.saturating_sub(position) as f64) / position as f64;
                let percent = position.saturating_mul(100) / total.max(1);
                format!(", {percent} %, {} s left", grouped(left.round() as u64))
            });
            say(&format!("{what}{}", ahead.unwrap_or_default()));
            self.last_line = Instant::now();
        }
        self.bar.set_message(what);
        self.bar.set_position(position);
    }

    /// Prints a line even if progress is quiet.
    pub(super) fn say(&self, line: &str) {
        say(line);
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        erase_bar(&self.bar);
    }
}
