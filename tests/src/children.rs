//! The programs that a thread has started and that have not ended. Linux lists them; elsewhere none is known.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The child processes of one thread.
#[derive(Debug)]
pub(crate) struct Children {
    list: PathBuf,
}

impl Children {
    /// Those that the calling thread starts.
    pub(crate) fn of_this_thread() -> Self {
        let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
        Self { list: PathBuf::from("/proc").join(thread).join("children") }
    }

    /// Sends all of them a signal, as `kill` names it.
    pub(crate) fn signal(&self, signal: &str) {
        for id in self.ids() {
            let _ = Command::new("kill").args(["-s", signal, &id]).status();
        }
    }

    /// Sends all of them a signal, and kills those that still run after `patience`.
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
