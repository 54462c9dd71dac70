//! A load over time, in at most [`INTERVALS_MAX`] intervals.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::bank::workload::{Endings, IntervalReport, Meter};

/// Beyond it, neighbours are merged.
const INTERVALS_MAX: usize = 240;

pub(super) struct Timeline {
    intervals: Vec<Interval>,
    reports_each: u32,
    /// At the last report.
    elapsed: Duration,
    retries: u64,
    audits: u64,
}

#[derive(Clone)]
pub(super) struct Interval {
    pub(super) from: Duration,
    pub(super) until: Duration,
    pub(super) endings: Endings,
    pub(super) retries: u64,
    pub(super) audits: u64,
    reports: u32,
    /// A serialized histogram: hundreds of bytes instead of 200 kB.
    latencies: Vec<u8>,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { intervals: Vec::new(), reports_each: 1, elapsed: Duration::ZERO, retries: 0, audits: 0 }
    }

    pub(super) fn record(&mut self, report: IntervalReport<'_>) {
        let interval = Interval {
            from: self.elapsed,
            until: report.elapsed,
            endings: report.interval.endings,
            retries: report.retries - self.retries,
            audits: report.audits - self.audits,
            reports: 1,
            latencies: packed(&report.interval.latencies),
        };
        (self.elapsed, self.retries, self.audits) = (report.elapsed, report.retries, report.audits);
        match self.intervals.last_mut() {
            Some(last) if last.reports < self.reports_each => last.add(&interval),
            _ => self.intervals.push(interval),
        }
        if self.intervals.len() > INTERVALS_MAX {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.reports_each *= 2;
        let pairs = self.intervals.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            pair[1..].iter().for_each(|second| sum.add(second));
            sum
        });
        self.intervals = pairs.collect();
    }

    pub(super) fn intervals(&self) -> &[Interval] {
        &self.intervals
    }
}

impl Interval {
    /// Merges the next interval.
    fn add(&mut self, next: &Self) {
        let mut sum = unpacked(&self.latencies);
        sum.add(unpacked(&next.latencies)).expect("they have the same bounds");
        self.latencies = packed(&sum);
        self.until = next.until;
        self.endings += next.endings;
        self.retries += next.retries;
        self.audits += next.audits;
        self.reports += next.reports;
    }

    pub(super) fn per_second(&self) -> f64 {
        self.endings.transfers as f64 / (self.until - self.from).as_secs_f64().max(0.001)
    }

    pub(super) fn meter(&self) -> Meter {
        Meter { endings: self.endings, latencies: unpacked(&self.latencies) }
    }
}

fn packed(latencies: &Histogram<u64>) -> Vec<u8> {
    let mut packed = Vec::new();
    V2Serializer::new().serialize(latencies, &mut packed).expect("memory takes whatever is written");
    packed.shrink_to_fit();
    packed
}

fn unpacked(packed: &[u8]) -> Histogram<u64> {
    Deserializer::new().deserialize(&mut &*packed).expect("it was packed here")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report n has n transfers of n microseconds.
    #[test]
    fn nothing_is_lost_where_intervals_are_put_together() {
        let mut timeline = Timeline::new();
        for n in 1..=1000_u64 {
            let mut interval = Meter::default();
            interval.endings.transfers = n;
            interval.latencies.record_n(n, n).expect("it is within the bounds");
            let elapsed = Duration::from_secs(n);
            timeline.record(IntervalReport {
                interval: &interval,
                elapsed,
                retries: 3 * n,
                audits: 2 * n,
                is_last: false,
            });
        }
        let intervals = timeline.intervals();
        assert!((INTERVALS_MAX / 2..=INTERVALS_MAX).contains(&intervals.len()), "{}", intervals.len());
        let sum = |of: &dyn Fn(&Interval) -> u64| intervals.iter().map(of).sum::<u64>();
        assert_eq!(sum(&|it| it.endings.transfers), 500_500);
        assert_eq!((sum(&|it| it.audits), sum(&|it| it.retries)), (2000, 3000));
        let mut until = Duration::ZERO;
        for interval in intervals {
            assert_eq!(interval.from, std::mem::replace(&mut until, interval.until));
            let (first, last) = (interval.from.as_secs() + 1, interval.until.as_secs());
            let latencies = interval.meter().latencies;
            assert_eq!(latencies.len(), (first..=last).sum::<u64>());
            assert_eq!((latencies.min(), latencies.max()), (first, last));
        }
        assert_eq!(until, Duration::from_secs(1000));
    }
}
