//! `transfer`: moves money, once or many times.

mod many;
mod one;

use std::num::NonZero;

use clap::ValueEnum;
use database::Server;
use serde::Serialize;
use terminal::{CommandLine, Failure};
use uuid::Uuid;

use super::answer::Answer;
use super::context::Context;
use crate::bank::transfer::{By, Order, Receipt, Refusal, Style, TransferError, TransferRequest};
use crate::bank::{AccountId, Amount};

pub(super) use one::transfer_once;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Source account [default: random]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    from: Option<AccountId>,

    /// Target account [default: random]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    to: Option<AccountId>,

    /// Amount in minor units [default: half of the source's balance]
    #[arg(long, value_name = "UNITS", allow_negative_numbers = true)]
    amount: Option<Amount>,

    /// The transfer's id (idempotency key): a recorded one is not applied again [default: new]
    #[arg(long, value_name = "ID", conflicts_with_all = ["count", "run"])]
    id: Option<Uuid>,

    /// How many transfers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = super::values::concurrency())]
    concurrency: u32,

    /// How each is executed
    #[arg(long, value_enum, default_value_t)]
    style: StyleName,

    /// Transfers in one transaction, in order; 1000 is a good size
    #[arg(long = "chunk", alias = "batch", value_name = "N", value_parser = super::load::count, conflicts_with_all = ["style", "id"])]
    batch: Option<NonZero<usize>>,

    /// Seed of the random draws: repeats a run's draws on the same bank
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,

    /// Resume this run: its applied transfers are not applied again
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum StyleName {
    /// Two SeaQuery statements; the database computes
    #[default]
    Builder,
    /// Entities: read, compute, write back
    Orm,
    /// One statement; not on SQLite
    Single,
}

impl StyleName {
    /// Refuses a style that the server does not support.
    pub(super) fn on(self, server: Server) -> Result<Style, Failure> {
        let style = Style::from(self);
        if style.works_on(server) {
            return Ok(style);
        }
        Err(Failure::usage(Refusal::StyleUnsupported.to_string()))
    }
}

impl From<StyleName> for Style {
    fn from(name: StyleName) -> Self {
        match name {
            StyleName::Builder => Self::Builder,
            StyleName::Orm => Self::Orm,
            StyleName::Single => Self::Single,
        }
    }
}

impl Args {
    fn request(&self) -> TransferRequest {
        TransferRequest { source: self.from, target: self.to, amount: self.amount }
    }

    fn rng_seed(&self) -> u64 {
        self.rng_seed.unwrap_or_else(rand::random)
    }
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank_to_write(args.concurrency).await?;
    let style = args.style.on(bank.server())?;
    // A run is a run of many, even of one.
    if args.count == 1 && args.run.is_none() && args.batch.is_none() {
        one::run(context, &bank, args, style).await
    } else {
        many::run(context, &bank, args, style).await
    }
}

/// Counts of outcomes. `skipped` had nothing to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    applied: u64,
    already_applied: u64,
    skipped: u64,
    failed: u64,
    unknown: u64,
}

impl Tally {
    fn count(&mut self, outcome: Result<&Receipt, &TransferError>) {
        *match outcome {
            Ok(Receipt { by: By::ThisRun, .. }) => &mut self.applied,
            Ok(Receipt { by: By::EarlierRun, .. }) => &mut self.already_applied,
            Err(crate::bank::Error::Body(Refusal::NothingToMove(_))) => &mut self.skipped,
            Err(error) if error.may_be_applied() => &mut self.unknown,
            Err(_) => &mut self.failed,
        } += 1;
    }

    fn total(&self) -> u64 {
        self.applied + self.already_applied + self.skipped + self.failed + self.unknown
    }
}

/// The command that settles a transfer: it finds the recorded one, or applies it.
pub(super) fn settling(order: &Order, amount: Option<Amount>) -> String {
    let command = CommandLine::new("transfer")
        .flag("--id", order.id)
        .flag("--from", order.source)
        .flag("--to", order.target);
    match amount {
        Some(amount) => command.flag("--amount", amount).to_string(),
        None => command.to_string(),
    }
}
