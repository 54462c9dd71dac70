//! The running child processes of a thread. Empty except on Linux.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Children {
    list: PathBuf,
}

impl Children {
    /// Those of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
        Self { list: PathBuf::from("/proc").join(thread).join("children") }
    }

    /// Sends a signal, by its name for `kill`, to all.
    pub(crate) fn signal(&self, signal: &str) {
        for id in self.ids() {
            let _ = Command::new("kill").args(["-s", signal, &id]).status();
        }
    }

    /// Sends a signal to all, and kills those still running after `patience`.
    pub(crate) fn end(&self, signal: &str, patience: Duration) {
        self.signal(signal);
        let started = Instant::now();
        while !self.ids().is_empty() && started.elapsed() < patience {
            thread::sleep(LOOK_EVERY);
        }
        self.signal("KILL");
    }

    fn ids(&self) -> Vec<String> {
        let list = fs::read_to_string(&self.list).unwrap_or_default();
        list.split_whitespace().map(str::to_owned).collect()
    }
}
