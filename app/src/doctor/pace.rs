//! The round trip and the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bank::Runner;
use database::Server;

use super::{State, Unseen, ask};

const TIMES: usize = 20;
/// Beyond this a transfer spends most of its time on the network.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(10);
/// CockroachDB's bound between nodes (`--max-offset`).
const DIFFERENCE_MAX: Duration = Duration::from_millis(500);

/// The median of one session, without the first, which prepares the statement.
pub(super) async fn round_trip(runner: &Runner) -> Result<State, Unseen> {
    let worker = runner.worker_among(1);
    let mut took = Vec::new();
    for _ in 0..=TIMES {
        let started = Instant::now();
        ask(&worker, "SELECT 1").await?;
        took.push(started.elapsed());
    }
    let mut took = took.split_off(1);
    took.sort_unstable();
    let median = took[took.len() / 2];
    let milliseconds = median.as_secs_f64() * 1e3;
    let found = format!("{milliseconds:.2} ms, the median of {TIMES}");
    let state = if median <= ROUND_TRIP_MAX {
        State::ok(found)
    } else {
        State::warn(
            found,
            "run the program nearer to the server: a transfer takes up to six round trips, and one with --style single",
        )
    };
    Ok(state.measured(milliseconds))
}

/// The clock's difference, by the quickest answer.
pub(super) async fn clock(runner: &Runner) -> Result<State, Unseen> {
    if runner.server() == Server::Sqlite {
        return Ok(State::ok("this machine's own").measured(0.0));
    }
    let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
    let worker = runner.worker_among(1);
    let mut best: Option<(Duration, f64)> = None;
    for _ in 0..TIMES {
        let (before, started) = (SystemTime::now(), Instant::now());
        let theirs: i64 = ask(&worker, sql).await?.try_get_by_index(0)?;
        let took = started.elapsed();
        let ours = (before + took / 2).duration_since(UNIX_EPOCH).unwrap_or_default();
        let difference = theirs as f64 / 1e3 - ours.as_secs_f64() * 1e3;
        if best.is_none_or(|(quickest, _)| took < quickest) {
            best = Some((took, difference));
        }
    }
    let (took, difference) = best.unwrap_or_default();
    let uncertain = took.as_secs_f64() * 1e3 / 2.0;
    let found = format!("{difference:+.1} ms from this machine's, ± {uncertain:.1}");
    let far = difference.abs() - uncertain > DIFFERENCE_MAX.as_secs_f64() * 1e3;
    let state = if far {
        State::warn(found, "synchronize both clocks by NTP: times in answers and logs do not match")
    } else {
        State::ok(found)
    };
    Ok(state.measured(difference))
}
