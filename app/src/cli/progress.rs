//! How it goes, on standard error: a bar on a terminal, a line now and then elsewhere, nothing when asked to be quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use terminal::{counted, grouped, say};
use uuid::Uuid;

/// The pause between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where the user is told how it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    quiet: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// One line.
    pub(super) fn say(self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }

    /// A count of `unit`s towards a known number of them.
    pub(super) fn towards(self, total: u64, unit: &'static str) -> Counting {
        self.count(Some(total), unit)
    }

    /// A count of `unit`s on the way through so many bytes, where that is known.
    pub(super) fn through(self, bytes: Option<u64>, unit: &'static str) -> Counting {
        self.count(bytes, unit)
    }

    fn count(self, total: Option<u64>, unit: &'static str) -> Counting {
        let template =
            if total.is_some() { "{wide_bar} {percent} % {msg}, {eta} left" } else { "{spinner} {msg}" };
        let bar = if self.quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template(template).expect("a template that indicatif knows");
            total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style)
        };
        let (lines, now) = (!self.quiet && bar.is_hidden(), Instant::now());
        Counting { bar, lines, started: now, last_line: now, total, unit }
    }
}

/// The line with the id of a run, printed before it begins: the same command with `--run ID` completes it.
pub(super) fn run_line(kind: &str, run: Uuid) -> String {
    format!("{kind} run {run}: to resume it, add --run ID")
}

/// How long something took, and how fast that was where it took long enough to tell.
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

/// A count on its way.
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
    /// So many are done, of a number that is known.
    pub(super) fn done(&mut self, count: u64) {
        self.done_at(count, count);
    }

    /// So many are done, and so far is the way.
    pub(super) fn done_at(&mut self, count: u64, position: u64) {
        let per_second = count as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        self.at(format!("{}, {} a second", counted(count, self.unit), rate(per_second)), position);
    }

    /// So far is the way; `what` says what is being done.
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

    /// A line that stays, above the bar.
    pub(super) fn say(&self, line: &str) {
        if self.lines {
            say(line);
        } else {
            self.bar.suspend(|| say(line));
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
