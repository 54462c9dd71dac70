//! What the bulk loads share: their flags, how they are told, and how they end.

use std::num::NonZero;

use terminal::{Exit, Failure};
use uuid::Uuid;

use super::context::Context;
use super::failure;
use crate::bank::load::{Loaded, Loading, Stopped};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LoadFlags {
    /// How many rows in each transaction [default: 1000; 10000 for import]
    #[arg(long, value_name = "N", value_parser = count)]
    chunk: Option<NonZero<usize>>,

    /// How many transactions at once; one on SQLite, which has one writer at a time
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    concurrency: NonZero<usize>,

    /// Complete the run with this id: chunks that it has added already are not added again
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<Uuid>,
}

/// The rows of a transaction where nothing is said: as many as in the tutorial.
pub(super) const CHUNK: usize = 1000;

/// More than anybody wants, and no more than is safe to hold.
const COUNT_MAX: usize = 100_000;

fn count(text: &str) -> Result<NonZero<usize>, String> {
    text.parse()
        .ok()
        .filter(|count: &NonZero<usize>| count.get() <= COUNT_MAX)
        .ok_or_else(|| format!("give a whole number from 1 to {COUNT_MAX}"))
}

impl LoadFlags {
    /// With what is left out made up: the number of rows in a transaction as well.
    pub(super) fn loading(&self, context: &Context, chunk: usize) -> Loading {
        Loading {
            run: self.run.unwrap_or_else(Uuid::new_v4),
            chunk: self.chunk.or(NonZero::new(chunk)).unwrap_or(NonZero::<usize>::MIN),
            concurrency: self.concurrency,
            stop: context.interrupted().clone(),
        }
    }

    /// So many connections.
    pub(super) fn at_once(&self) -> u32 {
        u32::try_from(self.concurrency.get()).unwrap_or(u32::MAX)
    }

    /// One transaction after the other, as the tutorial's.
    pub(super) fn tutorial() -> Self {
        Self { chunk: None, concurrency: NonZero::<usize>::MIN, run: None }
    }
}

/// What completes a load: its command with the flags that its chunks depend on, and its run.
pub(super) fn again(command: &str, loading: &Loading) -> String {
    format!("cargo run -p app {command} --chunk {} --run {}", loading.chunk, loading.run)
}

/// What a load came to, and why it is not the whole of it, where it is not.
pub(super) fn ended<D: Copy>(
    context: &Context,
    ended: Result<Loaded<D>, Stopped<D>>,
    is_whole: impl FnOnce(&Loaded<D>) -> bool,
    again: &str,
) -> (Loaded<D>, Option<Failure>) {
    match ended {
        Ok(loaded) if is_whole(&loaded) => (loaded, None),
        Ok(loaded) => (loaded, context.interruption(format!("to complete it run `{again}`"))),
        Err((error, loaded)) => (loaded, Some(with_completion(failure::loading(&error, again), again))),
    }
}

/// The chunks before a failure stay, so the same run is what completes the work.
pub(super) fn with_completion(failure: Failure, again: &str) -> Failure {
    match failure.kind {
        "run_conflict" => failure,
        _ if failure.exit == Exit::Unknown => failure,
        _ => Failure { line: format!("{}; to complete the rest run `{again}`", failure.line), ..failure },
    }
}

/// What is told of rows that an earlier call had added.
pub(super) fn found<D>(loaded: &Loaded<D>, rows: &str) -> String {
    if loaded.found == 0 {
        return String::new();
    }
    format!("\n{} {rows} of this run were there already.", loaded.found)
}
