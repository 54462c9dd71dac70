//! What bulk loads share: flags, progress, endings.

use std::num::NonZero;
use std::time::Instant;

use terminal::{CommandLine, Exit, Failure, counted_were, interrupted};
use uuid::Uuid;

use super::context::Context;
use super::failure;
use super::progress::{Counting, run_line};
use crate::bank::load::{Loaded, Loading, Stopped};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LoadFlags {
    /// Rows in each transaction [default: 1000; 10000 for import]
    #[arg(long, value_name = "N", value_parser = count)]
    chunk: Option<NonZero<usize>>,

    /// Concurrent transactions; one on SQLite, which has one writer at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = super::values::concurrency())]
    concurrency: u32,

    /// Complete the run with this id: its chunks are not added again
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<Uuid>,
}

/// As in the tutorial.
const CHUNK: usize = 1000;

/// A chunk is held in memory.
const COUNT_MAX: usize = 100_000;

/// The parser of `--chunk`.
pub(super) fn count(text: &str) -> Result<NonZero<usize>, String> {
    text.parse()
        .ok()
        .filter(|count: &NonZero<usize>| count.get() <= COUNT_MAX)
        .ok_or_else(|| format!("give a whole number from 1 to {COUNT_MAX}"))
}

impl LoadFlags {
    pub(super) fn loading(&self, context: &Context, chunk: usize) -> Loading {
        Loading {
            run: self.run.unwrap_or_else(Uuid::new_v4),
            chunk: self.chunk.or(NonZero::new(chunk)).unwrap_or(NonZero::<usize>::MIN),
            concurrency: NonZero::new(self.concurrency as usize).unwrap_or(NonZero::<usize>::MIN),
            stop: context.interrupted().clone(),
        }
    }

    pub(super) fn at_once(&self) -> u32 {
        self.concurrency
    }
}

/// The command that completes a load.
pub(super) fn again(command: CommandLine, loading: &Loading) -> String {
    command
        .flag("--chunk", loading.chunk)
        .flag("--concurrency", loading.concurrency)
        .flag("--run", loading.run)
        .to_string()
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DrawFlags {
    #[command(flatten)]
    pub(super) load: LoadFlags,

    /// Draw the same rows as an earlier run
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,
}

impl DrawFlags {
    /// One transaction at a time.
    pub(super) fn tutorial() -> Self {
        Self { load: LoadFlags { chunk: None, concurrency: 1, run: None }, rng_seed: None }
    }
}

pub(super) struct Drawn<D> {
    pub(super) loaded: Loaded<D>,
    /// Why rows are missing.
    pub(super) failure: Option<Failure>,
    pub(super) run: Uuid,
    pub(super) rng_seed: u64,
    pub(super) seconds: f64,
    /// The text about rows that an earlier call added.
    pub(super) found: String,
}

pub(super) async fn draw<D: Copy>(
    context: &Context,
    command: &str,
    count: u64,
    row: &'static str,
    flags: &DrawFlags,
    add: impl AsyncFnOnce(u64, &Loading, &mut Counting) -> Result<Loaded<D>, Stopped<D>>,
) -> Drawn<D> {
    let rng_seed = flags.rng_seed.unwrap_or_else(rand::random);
    let loading = flags.load.loading(context, CHUNK);
    let run = loading.run;
    let again = CommandLine::new(command).flag("--count", count).flag("--rng-seed", rng_seed);
    let again = self::again(again, &loading);
    context.progress().say(&run_line(command, run));
    context.if_cut_off(interrupted(&format!("to complete it run `{again}`")));

    let started = Instant::now();
    let mut counting = context.progress().towards(count, row);
    let ended = add(rng_seed, &loading, &mut counting).await;
    drop(counting);

    let (loaded, failure) = match ended {
        Ok(loaded) if loaded.rows + loaded.found == count => (loaded, None),
        Ok(loaded) => (loaded, context.interruption(format!("to complete it run `{again}`"))),
        Err((error, loaded)) => (loaded, Some(with_completion(failure::loading(&error, &again), &again))),
    };
    let found = match loaded.found {
        0 => String::new(),
        found => format!("\n{} there already, of this run.", counted_were(found, row)),
    };
    Drawn { loaded, failure, run, rng_seed, seconds: started.elapsed().as_secs_f64(), found }
}

/// Adds the command that completes the load, because committed chunks stay.
pub(super) fn with_completion(failure: Failure, again: &str) -> Failure {
    match failure.kind {
        "run_conflict" => failure,
        failure::CHUNK_TIMEOUT => Failure {
            line: format!("{} to a new run, or complete this one by `{again}`", failure.line),
            ..failure
        },
        _ if failure.exit == Exit::Unknown => failure,
        _ => Failure { line: format!("{}; to complete the rest run `{again}`", failure.line), ..failure },
    }
}
