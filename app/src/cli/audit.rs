//! `audit`: verifies every balance.

use std::time::Duration;

use database::Server;
use terminal::{Exit, Failure, counted, grouped, wrapped};

use super::answer::Answer;
use super::context::Context;
use super::values::{LONGEST, time};
use crate::bank::Bank;
use crate::bank::audit::Audit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// On CockroachDB: audit the snapshot of this age, as in 10s, without waiting for writers
    #[arg(long, value_name = "TIME", value_parser = time("1ms", LONGEST), allow_hyphen_values = true)]
    as_of: Option<Duration>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank_for_analysis().await?;
    check_as_of(&bank, "--as-of", args.as_of).await?;
    let Some(ago) = args.as_of else { return audit(context, &bank).await };
    let answer = audit(context, &bank.as_of(ago)).await;
    answer.map_err(|failure| match failure.exit {
        Exit::NoDatabase => Failure {
            line: format!(
                "{} ago there was no bank here: give a shorter --as-of",
                humantime::format_duration(ago)
            ),
            ..failure
        },
        _ => failure,
    })
}

/// Refuses a past that the server does not keep.
pub(super) async fn check_as_of(bank: &Bank, flag: &str, ago: Option<Duration>) -> Result<(), Failure> {
    let Some(ago) = ago else { return Ok(()) };
    if bank.server() != Server::Cockroach {
        return Err(Failure::usage(format!(
            "{flag} reads CockroachDB's past, and this is {}: leave it out",
            bank.server()
        )));
    }
    match bank.past_kept().await {
        Some(kept) if ago > kept => Err(Failure::new(
            Exit::Failed,
            "too_long_ago",
            format!(
                "{} ago is further back than the server keeps the bank's past, {}: give a shorter {flag}, or have an \
                 administrator raise gc.ttlseconds",
                humantime::format_duration(ago),
                humantime::format_duration(kept)
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) async fn audit(context: &Context, bank: &Bank) -> Result<Answer, Failure> {
    let spinner = context.progress().spinner("auditing");
    let audit = context.read(bank.audit()).await?;
    drop(spinner);
    let failure = (!audit.ok).then(broken);
    let text = text(&audit);
    Ok(Answer::new(audit, text).with_failure(failure))
}

pub(super) fn broken() -> Failure {
    let line =
        "the bank is broken: what is listed does not hold; restore it from a backup, or find who wrote it";
    Failure::new(Exit::Broken, "broken", line)
}

pub(super) fn text(audit: &Audit) -> String {
    let mut text = format!(
        "{}, {}.\nBalances add up to {}, opening balances to {}.",
        counted(audit.accounts.unsigned_abs(), "account"),
        counted(audit.transfers.unsigned_abs(), "transfer"),
        grouped(audit.balance_total),
        grouped(audit.opening_total)
    );
    if audit.ok {
        return text + "\nThe bank is whole: balances are opening balances plus credits minus debits.";
    }
    for violation in &audit.violations {
        let of = match (violation.rule, violation.id.as_str()) {
            (_, "") => String::new(),
            (crate::bank::audit::Rule::TransferSound, id) => format!("transfer {id}: "),
            (_, id) => format!("account {id}: "),
        };
        let line = format!("Broken: {}: {of}{}", violation.rule, violation.found);
        text += &format!("\n{}", wrapped(&line, 8));
    }
    text
}
