//! `history`: an account and its latest transfers.

use ::entity::transfers;
use serde_json::{Value, json};
use terminal::{Failure, counted};

use super::answer::{Answer, table};
use super::context::Context;
use super::failure;
use crate::bank::transfer::Refusal;
use crate::bank::{AccountId, rfc3339};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's number
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    account: AccountId,

    /// How many transfers to show at most, out and in alike
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
    let keys = json!({
        "id": account.id,
        "balance": account.balance,
        "opening_balance": account.opening_balance,
        "created_at": rfc3339(account.created_at),
        "payees": history.payees,
        "payers": history.payers,
        "outgoing": history.outgoing.iter().map(json_of).collect::<Vec<_>>(),
        "incoming": history.incoming.iter().map(json_of).collect::<Vec<_>>(),
    });
    let out = history.outgoing.iter().map(|it| row(it, it.target_id, "to", '-'));
    let back = history.incoming.iter().map(|it| row(it, it.source_id, "from", '+'));
    let text = format!(
        "Account {}: balance {}, opened with {} at {}; has paid {}, was paid by {}.\n{}",
        account.id,
        account.balance,
        account.opening_balance,
        rfc3339(account.created_at),
        counted(history.payees, "account"),
        history.payers,
        table(["at", "amount", "other account", "transfer"], out.chain(back)),
    );
    Ok(Answer::new(keys, text))
}

fn json_of(transfer: &transfers::Model) -> Value {
    json!({
        "id": transfer.id,
        "source_id": transfer.source_id,
        "target_id": transfer.target_id,
        "amount": transfer.amount,
        "created_at": rfc3339(transfer.created_at),
    })
}

fn row(transfer: &transfers::Model, other: i64, direction: &str, sign: char) -> [String; 4] {
    [
        rfc3339(transfer.created_at),
        format!("{sign}{}", transfer.amount),
        format!("{direction} {other}"),
        transfer.id.to_string(),
    ]
}
