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
}

/// Runs it to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> Took {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be started");
    let mut memory = 0;
    let status = loop {
        // Gone with the process: so the last look before its end is what counts.
        memory = peak(child.id()).unwrap_or(memory);
        if let Some(status) = child.try_wait().expect("it can be looked at") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{command:?}: {status}");
    Took { seconds: started.elapsed().as_secs_f64(), memory }
}

/// The most memory that a process has held, in bytes: Linux tells.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
