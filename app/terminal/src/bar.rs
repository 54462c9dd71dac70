//! The progress bar or spinner on standard error. Lines are written above it.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use indicatif::{ProgressBar, ProgressDrawTarget};

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Read while a line is written without a bar: a bar that was drawn then would be on the same line.
static UNDISTURBED: RwLock<()> = RwLock::new(());

/// Shows a hidden bar, unless another is shown or the bar is finished. Waits for lines being
/// written.
pub fn show_bar(bar: &ProgressBar) {
    let _between_lines = UNDISTURBED.write();
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
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_bar_is_shown_on_a_line_being_written() {
        let bar = ProgressBar::hidden();
        thread::scope(|scope| {
            above_bar(|| {
                scope.spawn(|| show_bar(&bar));
                thread::sleep(Duration::from_millis(100));
                assert!(shown().is_none());
            });
        });
        assert!(shown().take().is_some());
    }
}
