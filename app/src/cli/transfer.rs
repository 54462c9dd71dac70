//! `transfer`: moving money, once or many times.

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
    /// The account to take from [default: a random one]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    from: Option<AccountId>,

    /// The account to give to [default: a random one]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    to: Option<AccountId>,

    /// How much, in whole minor units [default: half of what the source has]
    #[arg(long, value_name = "UNITS", allow_negative_numbers = true)]
    amount: Option<Amount>,

    /// The transfer's id: a repeated one answers with what is recorded [default: a new one]
    #[arg(long, value_name = "ID", conflicts_with_all = ["count", "run"])]
    id: Option<Uuid>,

    /// How many transfers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// How many of them at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = super::values::concurrency())]
    concurrency: u32,

    /// How each is done
    #[arg(long, value_enum, default_value_t)]
    style: StyleName,

    /// Do so many in one transaction, in the order of their numbers; 1000 is a good size
    #[arg(long = "chunk", alias = "batch", value_name = "N", value_parser = super::load::count, conflicts_with_all = ["style", "id"])]
    batch: Option<NonZero<usize>>,

    /// Draw the same accounts as a run before, from the same bank
    #[arg(long, value_name = "N")]
    rng_seed: Option<u64>,

    /// Complete the run with this id: its transfers that are applied already are not applied again
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,
}

/// The styles, as they are named on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum StyleName {
    /// Two SeaQuery statements, the arithmetic in the database
    #[default]
    Builder,
    /// Entities: read, compute, write back
    Orm,
    /// All of it in one statement; not on SQLite
    Single,
}

impl StyleName {
    /// The style, where the server can do it.
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
    // A run is a run of many, even where it is of one.
    if args.count == 1 && args.run.is_none() && args.batch.is_none() {
        one::run(context, &bank, args, style).await
    } else {
        many::run(context, &bank, args, style).await
    }
}

/// How transfers ended, counted. `skipped` had nothing to move.
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

/// The command that settles a transfer: it answers with what is recorded, or applies what was asked.
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
