//! One transfer.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;
use terminal::{Exit, Failure, grouped, wrapped};
use uuid::Uuid;

use super::{Args, Tally, settling};
use crate::bank::transfer::{By, Order, Refusal, Style, TransferError, TransferRequest};
use crate::bank::{AccountId, Amount, Bank};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{failure, retries};

#[derive(Debug, Serialize)]
struct Keys {
    #[serde(flatten)]
    tally: Tally,
    retries: u64,
    seconds: f64,
    id: Uuid,
    source_id: AccountId,
    target_id: AccountId,
    /// Null if no amount is known.
    amount: Value,
}

pub(super) async fn run(
    context: &Context,
    bank: &Bank,
    args: &Args,
    style: Style,
) -> Result<Answer, Failure> {
    transfer_once(context, bank, args.id, args.request(), style, args.rng_seed()).await
}

/// Prints the id, a new one by default, before it begins.
pub(in crate::cli) async fn transfer_once(
    context: &Context,
    bank: &Bank,
    given_id: Option<Uuid>,
    request: TransferRequest,
    style: Style,
    rng_seed: u64,
) -> Result<Answer, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
    let started = Instant::now();
    let ordering = order(bank, given_id, request, &mut rng);
    let order = context.or_interrupted(ordering).await?;
    let id = order.id;
    context.progress().say(&format!("transfer {id}: account {} to {}", order.source, order.target));
    // Without its id nobody could settle it.
    if let Some(interrupted) = context.interruption("nothing was changed") {
        return Err(interrupted);
    }
    let settle = settling(&order, request.amount);
    let line =
        format!("interrupted: it is not known whether the transfer is applied; to settle it run `{settle}`");
    context.if_cut_off(Failure::new(Exit::Unknown, "unknown", line));
    let outcome = bank.transfer(order, style).await;

    let mut tally = Tally::default();
    tally.count(outcome.as_ref());
    let (source, target, amount) = match &outcome {
        Ok(receipt) => (receipt.source, receipt.target, Some(receipt.amount)),
        Err(_) => (order.source, order.target, request.amount),
    };
    let counts = bank.counts();
    let keys = Keys {
        tally,
        retries: counts.retries,
        seconds: started.elapsed().as_secs_f64(),
        id,
        source_id: source,
        target_id: target,
        amount: amount.map_or(Value::Null, |amount| amount.units().into()),
    };
    let text = match &outcome {
        Ok(receipt) => {
            let line = format!(
                "{} {} from account {source} to account {target} ({}).",
                if receipt.by == By::ThisRun { "Moved" } else { "Already applied: moved" },
                grouped(receipt.amount.units()),
                retries::in_words(&counts.retries_by_sqlstate)
            );
            format!("{}\ntransfer {id}", wrapped(&line, 0))
        }
        Err(crate::bank::Error::Body(refusal @ Refusal::NothingToMove(_))) => format!("Skipped: {refusal}."),
        Err(_) => String::new(),
    };
    Ok(Answer::new(keys, text).with_failure(failed(&outcome.err(), &order, request.amount)))
}

/// Draws the missing fields, or takes those of the recorded transfer.
async fn order(
    bank: &Bank,
    id: Option<Uuid>,
    request: TransferRequest,
    rng: &mut ChaCha8Rng,
) -> Result<Order, Failure> {
    let recorded = match id {
        Some(id) => bank.transfer_by_id(id).await.map_err(|error| failure::reading(&error))?,
        None => None,
    };
    let id = id.unwrap_or_else(Uuid::new_v4);
    if let Some(recorded) = recorded {
        let source = request.source.unwrap_or(AccountId(recorded.source_id));
        let target = request.target.unwrap_or(AccountId(recorded.target_id));
        return Ok(Order::new(id, source, target, request));
    }
    let range = match request.is_complete() {
        true => None,
        false => bank.account_range().await.map_err(|error| failure::reading(&error))?,
    };
    bank.order(id, request, range.as_ref(), rng).await.map_err(|error| failure::drawing(&error))
}

/// A skipped transfer is no failure.
fn failed(error: &Option<TransferError>, order: &Order, amount: Option<Amount>) -> Option<Failure> {
    let error = error.as_ref()?;
    if matches!(error, crate::bank::Error::Body(Refusal::NothingToMove(_))) {
        return None;
    }
    Some(failure::transferring(error, &settling(order, amount)))
}
