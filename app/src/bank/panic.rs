//! Turns a task's panic into an error.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, TryFutureExt};
use sea_orm::DbErr;

/// A panic, with its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this program has a bug and panicked: {0}")]
pub struct Panicked(String);

impl From<Panicked> for DbErr {
    fn from(panicked: Panicked) -> Self {
        Self::Custom(panicked.to_string())
    }
}

/// Runs work and catches its panic. A transaction in it is rolled back with its connection.
pub(crate) fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, Panicked>> {
    AssertUnwindSafe(work).catch_unwind().map_err(|panic| Panicked(text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    text.replace('\n', " ")
}
