//! Many transfers, answered with counts.

use std::time::Instant;

use serde::Serialize;
use std::collections::BTreeMap;
use terminal::{Exit, Failure};
use uuid::Uuid;

use super::{Args, Tally, retries};
use crate::bank::Bank;
use crate::bank::transfer::{DrawError, Many, Refusal, Unsuccessful};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::failure;
use crate::cli::progress::{pace, run_line};

/// How many failures are told one by one.
const TOLD_MAX: u64 = 10;

#[derive(Debug, Serialize)]
struct Keys {
    #[serde(flatten)]
    tally: Tally,
    retries: u64,
    retries_by_sqlstate: BTreeMap<String, u64>,
    seconds: f64,
    run: Uuid,
    rng_seed: u64,
}

pub(super) async fn run(context: &Context, bank: &Bank, args: &Args) -> Result<Answer, Failure> {
    let many = Many {
        count: args.count,
        concurrency: args.concurrency,
        run: args.run.unwrap_or_else(Uuid::new_v4),
        wish: args.wish(),
        style: args.style.into(),
        rng_seed: args.rng_seed(),
    };
    let again = command(&many);
    context.progress().say(&run_line("transfer", many.run));

    let started = Instant::now();
    let stop = context.interrupted().child_token();
    let mut endings = context.read(bank.transfer_many(many, stop.clone())).await?;
    let mut counting = context.progress().towards(many.count, "transfers");
    let mut tally = Tally::default();
    let mut first_failure = None;
    while let Some(ended) = endings.recv().await {
        let error = match ended.outcome {
            Ok(receipt) => {
                tally.count(Ok(&receipt));
                None
            }
            Err(Unsuccessful::Transfer(error)) => {
                tally.count(Err(&error));
                let is_skip = matches!(error, transaction::Error::Body(Refusal::NothingToMove(_)));
                (!is_skip).then(|| failure::transferring(&error, &again))
            }
            Err(Unsuccessful::Draw(error)) => {
                tally.failed += 1;
                if matches!(error, DrawError::TooFewAccounts) {
                    stop.cancel();
                }
                Some(failure::drawing(&error))
            }
        };
        if let Some(error) = error {
            if tally.failed + tally.unknown <= TOLD_MAX && many.count > 1 {
                counting.say(&format!("transfer {}: {}", ended.id, error.line));
            }
            first_failure.get_or_insert(error);
        }
        counting.done(tally.total());
    }
    drop(counting);

    let counts = bank.counts();
    let keys = Keys {
        tally,
        retries: counts.retries,
        retries_by_sqlstate: counts.retries_by_sqlstate.clone(),
        seconds: started.elapsed().as_secs_f64(),
        run: many.run,
        rng_seed: many.rng_seed,
    };
    let text = format!(
        "{} of {} transfers in {}: {} applied, {} applied before, {} skipped with nothing to move, \
         {} failed, {} unknown; {}.",
        tally.total(),
        many.count,
        pace(tally.total(), keys.seconds),
        tally.applied,
        tally.already_applied,
        tally.skipped,
        tally.failed,
        tally.unknown,
        retries(&counts)
    );
    let failure = failure(&tally, first_failure, &again).or_else(|| {
        if tally.total() < many.count {
            context.interruption(format!("to complete it run `{again}`"))
        } else {
            None
        }
    });
    Ok(Answer::new(keys, text).but(failure))
}

/// The command that completes a run: what is applied already stays as it is.
fn command(many: &Many) -> String {
    let mut command = format!(
        "cargo run -p app transfer --count {} --run {} --rng-seed {}",
        many.count, many.run, many.rng_seed
    );
    let wish = many.wish;
    for (flag, value) in [
        ("--from", wish.source.map(|id| id.to_string())),
        ("--to", wish.target.map(|id| id.to_string())),
        ("--amount", wish.amount.map(|amount| amount.to_string())),
    ] {
        if let Some(value) = value {
            command += &format!(" {flag} {value}");
        }
    }
    command
}

fn failure(tally: &Tally, first: Option<Failure>, again: &str) -> Option<Failure> {
    let first = first?;
    if tally.unknown > 0 {
        let line = format!("{} transfers are unknown: to settle them run `{again}`", tally.unknown);
        return Some(Failure::new(Exit::Unknown, "unknown", line));
    }
    if tally.failed == 1 {
        return Some(first);
    }
    Some(Failure { line: format!("{} transfers failed, the first: {}", tally.failed, first.line), ..first })
}
