//! `history`: an account's latest transfers, with the balance after each.

use serde_json::{Value, json};
use terminal::{Failure, counted, grouped};

use super::answer::{Answer, table};
use super::context::Context;
use super::failure;
use crate::bank::history::Entry;
use crate::bank::transfer::Refusal;
use crate::bank::{AccountId, rfc3339};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's number
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    account: AccountId,

    /// How many transfers to show at most, the newest, in and out together. Those of one time are in
    /// the order of their ids
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank(1).await?;
    let history = context.read(bank.account_history(args.account, args.limit)).await?;
    let Some(history) = history else {
        return Err(failure::refused(&Refusal::UnknownAccount(args.account)));
    };
    let account = &history.account;
    let (outgoing, incoming): (Vec<_>, Vec<_>) =
        history.entries.iter().partition(|entry| entry.transfer.source_id == account.id);
    let keys = json!({
        "id": account.id,
        "balance": account.balance,
        "opening_balance": account.opening_balance,
        "created_at": rfc3339(account.created_at),
        "payees": history.payees,
        "payers": history.payers,
        "outgoing": outgoing.into_iter().map(json_of).collect::<Vec<_>>(),
        "incoming": incoming.into_iter().map(json_of).collect::<Vec<_>>(),
    });
    let text = format!(
        "Account {}: balance {}, opened with {}.\nOpened at {}; has paid {}, was paid by {}.\n{}",
        account.id,
        grouped(account.balance),
        grouped(account.opening_balance),
        rfc3339(account.created_at),
        counted(history.payees, "account"),
        grouped(history.payers),
        table(
            ["at\ntransfer", "other account", "amount", "balance"],
            history.entries.iter().map(|entry| row(entry, account.id))
        ),
    );
    Ok(Answer::new(keys, text))
}

fn json_of(entry: &Entry) -> Value {
    let Entry { transfer, balance } = entry;
    json!({
        "id": transfer.id,
        "source_id": transfer.source_id,
        "target_id": transfer.target_id,
        "amount": transfer.amount,
        // A number, unless JSON numbers cannot hold it.
        "balance": i64::try_from(*balance).map_or_else(|_| balance.to_string().into(), Value::from),
        "created_at": rfc3339(transfer.created_at),
    })
}

fn row(entry: &Entry, account: i64) -> [String; 4] {
    let Entry { transfer, balance } = entry;
    let (sign, direction, other) = if transfer.source_id == account {
        ('-', "to", transfer.target_id)
    } else {
        ('+', "from", transfer.source_id)
    };
    [
        format!("{}\n{}", rfc3339(transfer.created_at), transfer.id),
        format!("{direction} {other}"),
        format!("{sign}{}", grouped(transfer.amount)),
        grouped(*balance),
    ]
}
