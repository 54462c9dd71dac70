//! `accounts`: lists accounts.

use serde_json::json;
use terminal::{Failure, counted, grouped};

use super::answer::{Answer, table};
use super::context::Context;
use crate::bank::AccountId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The smallest number to list
    #[arg(long, alias = "from", value_name = "ID", allow_negative_numbers = true)]
    min_id: Option<AccountId>,

    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,

    /// List the N largest balances instead; the database reads all accounts
    #[arg(long, value_name = "N", conflicts_with_all = ["min_id", "limit"],
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    top: Option<u64>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bank = context.bank(1).await?;
    let from = args.min_id.unwrap_or(AccountId::MIN);
    let reading = async {
        let total = bank.account_count().await?;
        let listed = match args.top {
            Some(top) => bank.account_top(top).await?,
            None => bank.account_list(from, args.limit).await?,
        };
        Ok((total, listed))
    };
    let (total, listed) = context.read(reading).await?;
    let list: Vec<_> = listed
        .iter()
        .map(|it| json!({ "id": it.id, "balance": it.balance, "opening_balance": it.opening_balance }))
        .collect();
    let rows = listed.iter().map(|it| [it.id.to_string(), grouped(it.balance), grouped(it.opening_balance)]);
    let text = format!(
        "{}\n{} of {}{}.",
        table(["account", "balance", "opening balance"], rows),
        grouped(listed.len() as u64),
        counted(total, "account"),
        args.min_id.map(|id| format!(", from number {id} on")).unwrap_or_default(),
    );
    Ok(Answer::new(json!({ "accounts": total, "list": list }), text))
}
