//! How it goes, on standard error: a bar on a terminal, a line now and then elsewhere, nothing when asked to be quiet.
#![expect(clippy::print_stderr, reason = "progress is printed here")]

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
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
            eprintln!("{line}");
        }
    }

    /// A count towards a known number of `unit`s, of which `at_start` are done.
    pub(super) fn towards(self, total: u64, unit: &'static str) -> Counting {
        let bar = if self.quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let style =
                ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {msg} {per_sec} {eta}")
                    .expect("a template that indicatif knows");
            ProgressBar::new(total).with_style(style).with_message(unit)
        };
        let lines = !self.quiet && bar.is_hidden();
        Counting { bar, lines, last_line: Instant::now(), total, unit }
    }
}

/// What is told of a run before it begins, so that it can be completed whatever becomes of it.
pub(super) fn run_line(kind: &str, run: Uuid) -> String {
    format!("{kind} run {run}: if it is stopped, the same command with --run {run} completes it")
}

/// How long something took, and how fast that was where it took long enough to tell.
pub(super) fn pace(count: u64, seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.2} s ({:.0} a second)", count as f64 / seconds)
    }
}

/// A count on its way.
#[derive(Debug)]
pub(super) struct Counting {
    bar: ProgressBar,
    lines: bool,
    last_line: Instant,
    total: u64,
    unit: &'static str,
}

impl Counting {
    /// So many are done.
    pub(super) fn done(&mut self, count: u64) {
        self.bar.set_position(count);
        if self.lines && self.last_line.elapsed() >= LINE_EVERY {
            eprintln!("{count} of {} {}", self.total, self.unit);
            self.last_line = Instant::now();
        }
    }

    /// A line that stays, above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
