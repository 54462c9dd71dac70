//! Programs, run to their end and looked at.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// The most memory it held at once, in bytes.
    pub(crate) memory: u64,
    /// The processor's time that it took, in seconds.
    #[allow(dead_code, reason = "not every benchmark asks for it")]
    pub(crate) processor: f64,
}

/// Runs it to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> Took {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be started");
    let (mut memory, mut processor) = (0, 0.0);
    let status = loop {
        // Gone with the process: so the last look before its end is what counts.
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

/// The most memory that a process has held, in bytes: Linux tells.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The processor's time that a process has taken, its own and the kernel's for it, in seconds.
fn processor_time(process: u32) -> Option<f64> {
    // A hundred ticks a second on every Linux.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may have blanks; utime and stime are the 14th and the 15th field of all.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
