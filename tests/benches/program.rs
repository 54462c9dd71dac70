//! Runs programs and measures them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cost of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Peak memory in bytes.
    pub(crate) memory: u64,
    /// CPU time in seconds.
    #[allow(dead_code, reason = "not every benchmark asks for it")]
    pub(crate) processor: f64,
}

/// Runs a program, which must succeed.
pub(crate) fn run(command: &mut Command) -> Took {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be started");
    let (mut memory, mut processor) = (0, 0.0);
    let status = loop {
        // Gone when the process ends, so the last reading counts.
        memory = peak(child.id()).unwrap_or(memory);
        processor = processor_time(child.id()).unwrap_or(processor);
        if let Some(status) = child.try_wait().expect("it can be looked at") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{command:?}: {status}");
    Took { seconds: started.elapsed().as_secs_f64(), memory, processor }
}

/// A process's peak memory in bytes, from Linux.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// A process's CPU time in seconds.
fn processor_time(process: u32) -> Option<f64> {
    // Linux: 100 ticks per second.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may contain blanks; utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
