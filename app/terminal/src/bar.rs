//! The progress bar or spinner on standard error. Lines are written above it.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Read while a line is written without a bar: a bar that was drawn then would be on the same line.
static UNDISTURBED: RwLock<()> = RwLock::new(());

/// Shows a hidden bar, unless another is shown or the bar is finished. Waits for lines being
/// written.
pub fn show_bar(bar: &ProgressBar) {
    let _between_lines = loop {
        // `write` would hold up further lines while one waits for its reader, also that of ctrl-C.
        match UNDISTURBED.try_write() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            between_lines => break between_lines,
        }
    };
    let mut shown = shown();
    if shown.is_none() && !bar.is_finished() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
        *shown = Some(bar.clone());
    }
}

/// Finishes and erases a bar.
pub fn erase_bar(bar: &ProgressBar) {
    let mut shown = shown();
    if !bar.is_hidden() {
        *shown = None;
    }
    bar.finish_and_clear();
}

/// For a process that ends without destructors.
pub(crate) fn erase_shown() {
    if let Some(bar) = shown().take() {
        bar.finish_and_clear();
    }
}

/// Runs a write while the bar is erased.
pub(crate) fn above_bar<T>(write: impl FnOnce() -> T) -> T {
    let undisturbed = UNDISTURBED.read();
    let bar = shown().clone();
    match bar {
        Some(bar) => {
            drop(undisturbed);
            bar.suspend(write)
        }
        None => write(),
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_bar_waits_for_a_line_being_written_and_holds_up_no_other() {
        let bar = ProgressBar::hidden();
        thread::scope(|scope| {
            above_bar(|| {
                scope.spawn(|| show_bar(&bar));
                thread::sleep(Duration::from_millis(100));
                assert!(shown().is_none());
                let (written, waits) = mpsc::channel();
                scope.spawn(move || {
                    above_bar(|| ());
                    written.send(())
                });
                let other_line = waits.recv_timeout(Duration::from_secs(10));
                assert!(other_line.is_ok(), "a bar that waits holds up no other line");
            });
        });
        assert!(shown().take().is_some());
    }
}
