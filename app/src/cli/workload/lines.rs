//! The output during a load: a line per interval, and the latency log.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder};
use terminal::{Exit, Failure, counted};

use crate::bank::workload::{Endings, IntervalReport, Meter};
use crate::cli::output::refuse_stdout;
use crate::cli::progress::Progress;

const HEAD_EVERY: u64 = 20;

pub(super) struct Lines {
    progress: Progress,
    told: u64,
    endings: Endings,
    elapsed: Duration,
    retries: u64,
}

impl Lines {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, told: 0, endings: Endings::default(), elapsed: Duration::ZERO, retries: 0 }
    }

    pub(super) fn tell(&mut self, IntervalReport { interval, elapsed, retries, .. }: IntervalReport<'_>) {
        let Endings { transfers, failed, unknown, .. } = interval.endings;
        self.endings.transfers += transfers;
        self.endings.failed += failed + unknown;
        if self.told.is_multiple_of(HEAD_EVERY) {
            self.progress.say(&head());
        }
        self.told += 1;
        let now = transfers as f64 / (elapsed - self.elapsed).as_secs_f64().max(0.001);
        self.progress.say(&line(
            elapsed,
            self.endings.failed,
            now,
            self.endings.transfers as f64 / elapsed.as_secs_f64().max(0.001),
            interval,
            retries - self.retries,
        ));
        (self.elapsed, self.retries) = (elapsed, retries);
    }

    pub(super) fn total(self, total: &Meter, took: Duration, retries: u64) -> String {
        let overall = total.endings.transfers as f64 / took.as_secs_f64().max(0.001);
        format!(
            "{} in {:.2} s\n{}\n{}",
            counted(total.endings.transfers, "transfer"),
            took.as_secs_f64(),
            head(),
            line(took, self.endings.failed, overall, overall, total, retries)
        )
    }
}

fn head() -> String {
    format!(
        "{:>8} {:>6} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "elapsed", "errors", "ops/s now", "ops/s all", "p50 ms", "p95 ms", "p99 ms", "max ms", "retries"
    )
}

fn line(elapsed: Duration, errors: u64, now: f64, overall: f64, meter: &Meter, retries: u64) -> String {
    format!(
        "{:>7.1}s {errors:>6} {now:>9.1} {overall:>9.1} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {retries:>7}",
        elapsed.as_secs_f64(),
        meter.percentile_ms(50.0),
        meter.percentile_ms(95.0),
        meter.percentile_ms(99.0),
        meter.max_ms()
    )
}

/// A log with a histogram per interval. <https://github.com/HdrHistogram/HdrHistogram>
pub(super) struct HistogramLog {
    path: String,
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
    begun: Duration,
    first: bool,
    broken: Option<String>,
}

impl HistogramLog {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        refuse_stdout(path, "--histogram")?;
        let name = path.display().to_string();
        let file = File::create(path)
            .map_err(|error| Failure::usage(format!("{name} cannot be written: {error}")))?;
        Ok(Self {
            path: name,
            file: BufWriter::new(file),
            serializer: V2DeflateSerializer::new(),
            begun: Duration::ZERO,
            first: true,
            broken: None,
        })
    }

    /// `finish` reports what cannot be written.
    pub(super) fn write(&mut self, IntervalReport { interval, elapsed, .. }: IntervalReport<'_>) {
        let (begun, took) = (self.begun, elapsed - self.begun);
        self.begun = elapsed;
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_max_value_divisor(1000.0);
        if self.first {
            builder.add_comment("latencies of applied transfers, in microseconds");
            builder.with_start_time(SystemTime::now());
        }
        self.first = false;
        let written = builder
            .begin_log_with(&mut self.file, &mut self.serializer)
            .map_err(|error| error.to_string())
            .and_then(|mut log: IntervalLogWriter<'_, '_, _, _>| {
                log.write_histogram(&interval.latencies, begun, took, None)
                    .map_err(|error| format!("{error:?}"))
            });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    pub(super) fn finish(mut self) -> Option<Failure> {
        let flushed = self.file.flush().map_err(|error| error.to_string()).err();
        let reason = self.broken.or(flushed)?;
        let line = format!("{} could not be written: {reason}", self.path);
        Some(Failure::new(Exit::Failed, "unwritable", line))
    }
}
