//! The progress bar or spinner on standard error. Lines are written above it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget};

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows a hidden bar, unless another is shown or the bar is finished.
pub fn show_bar(bar: &ProgressBar) {
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
    let bar = shown().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
