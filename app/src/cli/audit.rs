//! `audit`: whether the bank is whole.

use terminal::{Exit, Failure};

use super::answer::Answer;
use super::context::Context;
use crate::bank::Bank;
use crate::bank::audit::Audit;

pub(super) async fn run(context: &Context) -> Result<Answer, Failure> {
    audit(context, &context.bank_for_analysis().await?).await
}

/// Audits a bank.
pub(super) async fn audit(context: &Context, bank: &Bank) -> Result<Answer, Failure> {
    let audit = context.read(bank.audit()).await?;
    let failure = (!audit.ok).then(broken);
    let text = text(&audit);
    Ok(Answer::new(audit, text).but(failure))
}

/// The failure of a bank that is not whole.
pub(super) fn broken() -> Failure {
    let line =
        "the bank is broken: what is listed does not hold; restore it from a backup, or find who wrote it";
    Failure::new(Exit::Broken, "broken", line)
}

/// An audit for people.
pub(super) fn text(audit: &Audit) -> String {
    let mut text = format!(
        "{} accounts, {} transfers; balances add up to {}, opening balances to {}.",
        audit.accounts, audit.transfers, audit.balance_total, audit.opening_total
    );
    if audit.ok {
        return text + "\nThe bank is whole: every balance is its opening balance plus credits minus debits.";
    }
    for violation in &audit.violations {
        let of = match (violation.rule, violation.id.as_str()) {
            (_, "") => String::new(),
            (crate::bank::audit::Rule::TransferSound, id) => format!("transfer {id}: "),
            (_, id) => format!("account {id}: "),
        };
        text += &format!("\nBroken: {}: {of}{}", violation.rule, violation.found);
    }
    text
}
