//! Time limits of tests. A body runs on its own thread, so the limit also holds if it blocks.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::children::Children;

/// The default limit: a few times the slowest test on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The time for a cancelled body to clean up, before its programs are killed.
const DROP_MAX: Duration = Duration::from_secs(2);

/// The time for a body to return after its programs were killed.
const RETURN_MAX: Duration = Duration::from_secs(5);

const KILL_EVERY: Duration = Duration::from_millis(100);

/// Runs a test's body, and propagates its panic.
///
/// A body over its limit is cancelled at an await point. If it blocks, its child processes are
/// killed; if that does not help, its thread is abandoned.
///
/// # Errors
///
/// If the body exceeds its limit.
pub(crate) fn run(
    name: &str,
    limit: Duration,
    runtime: &Handle,
    body: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failed> {
    let cancelled = CancellationToken::new();
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn({
        let (runtime, cancelled) = (runtime.clone(), cancelled.clone());
        move || {
            // The channel closes when the thread ends, also by a panic.
            let _ = sender.send(Children::of_this_thread());
            runtime.block_on(cancelled.run_until_cancelled_owned(body));
        }
    })?;
    let started = Instant::now();
    let Ok(children) = receiver.recv() else { unreachable!("it is sent first") };
    let ends_within =
        |wait: Duration| receiver.recv_timeout(wait).is_err_and(|why| why == RecvTimeoutError::Disconnected);
    if ends_within(limit.saturating_sub(started.elapsed())) {
        return thread.join().map_err(|panic| std::panic::resume_unwind(panic));
    }

    cancelled.cancel();
    let mut ended = ends_within(DROP_MAX);
    let killing = Instant::now();
    while !ended && killing.elapsed() < RETURN_MAX {
        children.signal("KILL");
        ended = ends_within(KILL_EVERY);
    }
    let left = if ended { "" } else { "; it blocks its thread, which is left behind" };
    Err(format!("not ended after {limit:?}, its limit (`within` declares another){left}").into())
}
