//! Refusals: why a transfer is not applied.

use std::fmt;

use database::sqlstate;
use sea_orm::DbErr;
use uuid::Uuid;

use super::{Order, Share};
use crate::bank::{AccountId, Amount, Bank, Error};

/// A field of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `source_id`
    Source,
    /// `target_id`
    Target,
    /// `amount`
    Amount,
}

/// Why a transfer is not applied, and will not be by this run. In checking order.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The id is recorded with another field.
    #[error(
        "transfer {id} is recorded with another {field}: {recorded}; use a new --id for another transfer"
    )]
    IdConflict {
        /// The id.
        id: Uuid,
        /// The first field that differs.
        field: Field,
        /// Its recorded value.
        recorded: i64,
    },
    /// Source and target are the same account.
    #[error("account {0} cannot pay itself: give two different accounts")]
    SameAccount(AccountId),
    /// The account does not exist.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The source has too little.
    #[error("account {account} has less than {amount}: ask for a smaller --amount")]
    InsufficientFunds {
        /// The source.
        account: AccountId,
        /// The requested amount.
        amount: Amount,
    },
    /// Half of the source's balance is 0.
    #[error("there is nothing to move: half of what account {0} has is 0")]
    NothingToMove(AccountId),
    /// The target's balance would exceed 64 bits.
    #[error("account {account} cannot take {amount} more: its balance would exceed 64 bits")]
    BalanceOverflow {
        /// The target.
        account: AccountId,
        /// The amount.
        amount: Amount,
    },
    /// The server does not support the style.
    #[error("SQLite changes one table in a statement: use --style builder or --style orm")]
    StyleUnsupported,
    /// A statement changed another number of balances. It is rolled back.
    #[error("the transfer changed {0} balances instead of two and was rolled back")]
    NotTwoBalances(u64),
    /// The database's error.
    #[error("{0}")]
    Database(#[from] DbErr),
}

/// Why a transfer is not known to be applied.
pub type TransferError = Error<Refusal>;

impl Refusal {
    /// Its name in snake_case, for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::IdConflict { .. } => "id_conflict",
            Self::SameAccount(_) => "same_account",
            Self::UnknownAccount(_) => "unknown_account",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::NothingToMove(_) => "nothing_to_move",
            Self::BalanceOverflow { .. } => "balance_overflow",
            Self::StyleUnsupported => "style_unsupported",
            Self::NotTwoBalances(_) => "not_two_balances",
            Self::Database(_) => "database",
        }
    }
}

impl Bank {
    pub(super) async fn refusal_behind(&self, order: &Order, error: &DbErr) -> Option<Refusal> {
        match (sqlstate(error).as_deref()?, order.share) {
            // A foreign key violation, also SQLite's, or the cast of style `single` without foreign
            // keys.
            ("23503" | "787" | "22P02", _) => self.missing_account(order).await.map(Refusal::UnknownAccount),
            // numeric_value_out_of_range, in style `single`.
            ("22003", Share::Exactly(amount)) => {
                Some(Refusal::BalanceOverflow { account: order.target, amount })
            }
            ("22003", Share::Half) => {
                let source = self.account_list(order.source, 1).await.ok()?;
                let amount = Amount::new(source.first()?.balance / 2).ok()?;
                Some(Refusal::BalanceOverflow { account: order.target, amount })
            }
            _ => None,
        }
    }

    /// The missing account, which not every server names. Accounts are never deleted.
    async fn missing_account(&self, order: &Order) -> Option<AccountId> {
        for account in [order.source, order.target] {
            if let Ok(listed) = self.account_list(account, 1).await
                && listed.first().is_none_or(|first| first.id != account.0)
            {
                return Some(account);
            }
        }
        None
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source account",
            Self::Target => "target account",
            Self::Amount => "amount",
        })
    }
}
