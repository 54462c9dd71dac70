//! Many transfers.

use std::time::Instant;

use sea_orm_retry::{Class, Phase};
use serde::Serialize;
use std::collections::BTreeMap;
use terminal::{CommandLine, Exit, Failure, counted, grouped};
use uuid::Uuid;

use super::{Args, Tally, settling};
use crate::bank::transfer::{DrawError, Ended, Many, Refusal, Style, Unsuccessful};
use crate::bank::{Amount, Bank, Error};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::progress::{pace, run_line};
use crate::cli::{failure, retries};

/// How many failures are printed one by one.
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

impl Keys {
    fn in_words(&self, count: u64) -> String {
        let tally = &self.tally;
        format!(
            "{} of {} in {}.\n{} applied, {} already applied, {} skipped (nothing to move),\n\
             {} failed, {} unknown; {}.",
            grouped(tally.total()),
            counted(count, "transfer"),
            pace(tally.total(), self.seconds),
            grouped(tally.applied),
            grouped(tally.already_applied),
            grouped(tally.skipped),
            grouped(tally.failed),
            grouped(tally.unknown),
            retries::in_words(&self.retries_by_sqlstate)
        )
    }
}

pub(super) async fn run(
    context: &Context,
    bank: &Bank,
    args: &Args,
    style: Style,
) -> Result<Answer, Failure> {
    let many = Many {
        count: args.count,
        concurrency: args.concurrency,
        run: args.run.unwrap_or_else(Uuid::new_v4),
        request: args.request(),
        style,
        batch: args.batch,
        rng_seed: args.rng_seed(),
    };
    let again = command(&many);
    context.progress().say(&run_line("transfer", many.run));
    let line = format!(
        "interrupted: transfers that had begun are unknown; to settle and complete them run `{again}`"
    );
    context.if_cut_off(Failure::new(Exit::Unknown, "unknown", line));

    let started = Instant::now();
    let stop = context.interrupted().child_token();
    let mut endings = context.read(bank.transfer_many(many, stop.clone())).await?;
    let mut counting = context.progress().towards(many.count, "transfer");
    let mut tally = Tally::default();
    let mut failures = Failures::default();
    while let Some(ended) = endings.recv().await {
        match ended.outcome.as_ref() {
            Ok(receipt) => tally.count(Ok(receipt)),
            Err(Unsuccessful::Transfer(error)) => tally.count(Err(error)),
            Err(Unsuccessful::Draw(_)) => tally.failed += 1,
        }
        if let Some(failure) = failed(&ended, many.request.amount, &again) {
            // The user has to know every unknown transfer.
            if many.count > 1 && (failure.exit == Exit::Unknown || tally.failed <= TOLD_MAX) {
                counting.say(&failure.line);
            }
            failures.keep_first(failure);
        }
        if ended.outcome.as_ref().is_err_and(ends_the_run) {
            failures.ended_the_run = true;
            stop.cancel();
        }
        counting.done(tally.total());
    }
    drop(counting);

    let counts = bank.counts();
    let keys = Keys {
        tally,
        retries: counts.retries,
        retries_by_sqlstate: counts.retries_by_sqlstate,
        seconds: started.elapsed().as_secs_f64(),
        run: many.run,
        rng_seed: many.rng_seed,
    };
    let text = keys.in_words(many.count);
    let failure = failures.in_one_line(&keys.tally, many.count, &again).or_else(|| {
        if keys.tally.total() < many.count {
            context.interruption(format!("to complete it run `{again}`"))
        } else {
            None
        }
    });
    Ok(Answer::new(keys, text).with_failure(failure))
}

/// `None` if the transfer is applied, or skipped.
fn failed(ended: &Ended, amount: Option<Amount>, again: &str) -> Option<Failure> {
    let failure = match ended.outcome.as_ref().err()? {
        Unsuccessful::Transfer(Error::Body(Refusal::NothingToMove(_))) => return None,
        Unsuccessful::Transfer(error) => {
            let settle = ended.order.map_or_else(|| again.to_owned(), |order| settling(&order, amount));
            failure::transferring(error, &settle)
        }
        Unsuccessful::Draw(error) => failure::drawing(error),
    };
    Some(Failure { line: format!("transfer {}: {}", ended.id, failure.line), ..failure })
}

/// Whether the remaining transfers would fail too: too few accounts, or the retry budget ran out on
/// an unknown outcome or without a connection.
fn ends_the_run(error: &Unsuccessful) -> bool {
    match error {
        Unsuccessful::Draw(DrawError::TooFewAccounts | DrawError::Panicked(_)) => true,
        Unsuccessful::Transfer(error) if error.may_be_applied() => true,
        Unsuccessful::Draw(DrawError::Read(error)) => has_no_connection(error),
        Unsuccessful::Transfer(error) => has_no_connection(error),
    }
}

fn has_no_connection<E>(error: &Error<E>) -> bool {
    matches!(error, Error::RetriesExhausted(_))
        && error.attempts().last().is_some_and(|last| last.phase == Phase::Begin && last.class == Class::Lost)
}

/// The failures that the last line needs.
#[derive(Default)]
struct Failures {
    first_unknown: Option<Failure>,
    first_failed: Option<Failure>,
    ended_the_run: bool,
}

impl Failures {
    fn keep_first(&mut self, failure: Failure) {
        let unknown = failure.exit == Exit::Unknown;
        let first = if unknown { &mut self.first_unknown } else { &mut self.first_failed };
        first.get_or_insert(failure);
    }

    /// Unknown outcomes first.
    fn in_one_line(self, tally: &Tally, count: u64, again: &str) -> Option<Failure> {
        let unknown = tally.unknown;
        let mut failure = match (self.first_unknown, self.first_failed) {
            (Some(only), _) if unknown == 1 => only,
            (Some(first), _) => Failure {
                line: format!(
                    "{unknown} transfers are unknown: to settle them run `{again}`; the first: {}",
                    first.line
                ),
                ..first
            },
            (None, Some(only)) if tally.failed == 1 => only,
            (None, Some(first)) => Failure {
                line: format!("{} transfers failed, the first: {}", tally.failed, first.line),
                ..first
            },
            (None, None) => return None,
        };
        let left = count.saturating_sub(tally.total());
        if self.ended_the_run && left > 0 {
            failure.line += &format!("; {left} were not begun: to complete the run `{again}`");
        }
        Some(failure)
    }
}

/// The command that resumes the run.
fn command(many: &Many) -> String {
    let mut command = CommandLine::new("transfer")
        .flag("--count", many.count)
        .flag("--run", many.run)
        .flag("--rng-seed", many.rng_seed);
    let request = many.request;
    for (flag, value) in [
        ("--concurrency", Some(many.concurrency).filter(|it| *it > 1).map(|it| it.to_string())),
        ("--chunk", many.batch.map(|it| it.to_string())),
        ("--style", Some(many.style).filter(|it| *it != Style::default()).map(|it| it.name().to_owned())),
        ("--from", request.source.map(|id| id.to_string())),
        ("--to", request.target.map(|id| id.to_string())),
        ("--amount", request.amount.map(|amount| amount.to_string())),
    ] {
        if let Some(value) = value {
            command = command.flag(flag, value);
        }
    }
    command.to_string()
}
