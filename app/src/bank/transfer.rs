//! Moving money: what is asked, what comes of it, and the three styles of doing it.
//!
//! The outcomes are checked in the order of [`Refusal`]'s variants. Each style is one body that keeps the contract of
//! [`sea_orm_retry::Runner::run_idempotent`], or of [`sea_orm_retry::Runner::statement`]; everything random is drawn before,
//! in [`Bank::order`].

mod builder;
mod many;
mod orm;
mod shape;
mod single;

use std::fmt;
use std::ops::RangeInclusive;

use crate::bank::Error;
use ::entity::transfers;
use database::{Server, sqlstate};
use rand::Rng;
use sea_orm::{DbErr, EntityTrait};
use sea_orm_retry::Tx;
use uuid::Uuid;

pub use many::{Ended, Many, Unsuccessful};

use super::panic::caught;
use super::{AccountId, Amount, Bank, Movement, Panicked, ReadError};

/// How much to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// This much.
    Exactly(Amount),
    /// Half of what the source has when the transfer is applied, rounded down.
    Half,
}

/// What the caller wants of a transfer. What is left out is drawn, and agrees with whatever is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The account to take from.
    pub source: Option<AccountId>,
    /// The account to give to.
    pub target: Option<AccountId>,
    /// How much; half of the source's balance where it is left out.
    pub amount: Option<Amount>,
}

/// A transfer that is ready to be tried as often as it takes: nothing of it is left to chance.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The transfer's id, made before its first attempt.
    pub id: Uuid,
    /// The account to take from.
    pub source: AccountId,
    /// The account to give to.
    pub target: AccountId,
    /// How much.
    pub share: Share,
    wish: Wish,
}

/// How to do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Two statements built with SeaQuery; the arithmetic happens in the database.
    #[default]
    Builder,
    /// Entities: read, compute, write back, as the tutorial's sample does.
    Orm,
    /// One autocommitted statement, in one round trip. Not on SQLite, which changes one table in a statement.
    Single,
}

impl Style {
    /// Those that a server can do.
    pub fn on(server: Server) -> impl Iterator<Item = Self> {
        [Self::Builder, Self::Orm, Self::Single].into_iter().filter(move |style| style.works_on(server))
    }

    /// Its name, as the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Orm => "orm",
            Self::Single => "single",
        }
    }

    /// Whether a server can do it.
    #[must_use]
    pub fn works_on(self, server: Server) -> bool {
        self != Self::Single || server != Server::Sqlite
    }
}

/// A transfer that is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Uuid,
    /// The account it took from.
    pub source: AccountId,
    /// The account it gave to.
    pub target: AccountId,
    /// How much it moved.
    pub amount: Amount,
    /// Whether this run applied it, or found it recorded by an earlier one.
    pub by: By,
}

/// Who applied a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This run.
    ThisRun,
    /// A run before it.
    EarlierRun,
}

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

/// Why a transfer is not applied, and will not be by this run. In the order in which it is checked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The id is recorded with something else in a field than what is asked for.
    #[error(
        "transfer {id} is recorded with another {field}: {recorded}; use a new --id for another transfer"
    )]
    IdConflict {
        /// The id.
        id: Uuid,
        /// The first field that differs.
        field: Field,
        /// What is recorded there.
        recorded: i64,
    },
    /// Source and target are one account.
    #[error("account {0} cannot pay itself: give two different accounts")]
    SameAccount(AccountId),
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The source has less than is asked for.
    #[error("account {account} has less than {amount}: ask for a smaller --amount")]
    InsufficientFunds {
        /// The source.
        account: AccountId,
        /// What was asked for.
        amount: Amount,
    },
    /// Half of what the source has is nothing.
    #[error("there is nothing to move: half of what account {0} has is 0")]
    NothingToMove(AccountId),
    /// The target's balance would not fit 64 bits.
    #[error("account {account} cannot take {amount} more: its balance would exceed 64 bits")]
    BalanceOverflow {
        /// The target.
        account: AccountId,
        /// What was asked for.
        amount: Amount,
    },
    /// The server cannot do it in this style.
    #[error("SQLite changes one table in a statement: use --style builder or --style orm")]
    StyleUnsupported,
    /// A transfer that did not change exactly two balances. It is rolled back.
    #[error("the transfer changed {0} balances instead of two and was rolled back")]
    NotTwoBalances(u64),
    /// The database's error.
    #[error("{0}")]
    Database(#[from] DbErr),
}

/// What a transfer can end in other than well.
pub type TransferError = Error<Refusal>;

/// Why no transfer could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// A transfer needs two.
    #[error("the bank has fewer than two accounts")]
    TooFewAccounts,
    /// The reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The drawing panicked. Nothing was begun.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Wish {
    /// Whether nothing is left to draw.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.source.is_some() && self.target.is_some()
    }
}

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

impl Order {
    /// An order with nothing left to draw. `wish` is what the recorded transfer has to agree with.
    #[must_use]
    pub fn new(id: Uuid, source: AccountId, target: AccountId, wish: Wish) -> Self {
        Self { id, source, target, share: wish.amount.map_or(Share::Half, Share::Exactly), wish }
    }

    /// What this order comes to where its id is recorded: the recorded transfer, if it agrees with every field that the
    /// caller gave.
    pub(in crate::bank) fn found(&self, recorded: &Movement, by: By) -> Result<Receipt, Refusal> {
        let given = [
            (Field::Source, self.wish.source.map(|id| id.0), recorded.source_id),
            (Field::Target, self.wish.target.map(|id| id.0), recorded.target_id),
            (Field::Amount, self.wish.amount.map(Amount::units), recorded.amount),
        ];
        let differing =
            given.into_iter().find(|(_, given, recorded)| given.is_some_and(|given| given != *recorded));
        if let Some((field, _, recorded)) = differing {
            return Err(Refusal::IdConflict { id: self.id, field, recorded });
        }
        Ok(Receipt {
            id: self.id,
            source: AccountId(recorded.source_id),
            target: AccountId(recorded.target_id),
            amount: Amount::new(recorded.amount).map_err(|error| DbErr::Type(error.to_string()))?,
            by,
        })
    }
}

impl Bank {
    /// Completes a wish: draws what it leaves out from the accounts with numbers in `range`.
    ///
    /// # Errors
    ///
    /// A [`DrawError`]; nothing is changed.
    pub async fn order(
        &self,
        id: Uuid,
        wish: Wish,
        range: Option<&RangeInclusive<i64>>,
        rng: &mut impl Rng,
    ) -> Result<Order, DrawError> {
        if let (Some(source), Some(target)) = (wish.source, wish.target) {
            return Ok(Order::new(id, source, target, wish));
        }
        let range = range.ok_or(DrawError::TooFewAccounts)?;
        let drawn = caught(self.draw_two(rng, range, wish.source, wish.target)).await??;
        let (source, target) = drawn.ok_or(DrawError::TooFewAccounts)?;
        Ok(Order::new(id, source, target, wish))
    }

    /// Moves the money, at most once however often this is called with one id. One event at level INFO says of every
    /// transfer that it is in the database, as soon as that is known: what a killed process had reported.
    ///
    /// # Errors
    ///
    /// A [`TransferError`]: after every one but [`Error::Unknown`] this run has not applied the transfer and never will.
    /// A panic on the way is an unknown outcome.
    pub async fn transfer(&self, order: Order, style: Style) -> Result<Receipt, TransferError> {
        match caught(self.run(&order, style)).await {
            Ok(outcome) => outcome,
            Err(panicked) => Err(Error::Panicked(panicked)),
        }
    }

    async fn run(&self, order: &Order, style: Style) -> Result<Receipt, TransferError> {
        let outcome = match style {
            Style::Builder => {
                self.runner
                    .run_idempotent("transfer", async |tx: &Tx| builder::transfer(tx, order).await)
                    .await
            }
            Style::Orm => {
                self.runner.run_idempotent("transfer", async |tx: &Tx| orm::transfer(tx, order).await).await
            }
            Style::Single if style.works_on(self.runner.server()) => {
                self.runner.statement("transfer", async |tx: &Tx| single::transfer(tx, order).await).await
            }
            Style::Single => Err(Error::Body(Refusal::StyleUnsupported)),
        };
        match outcome {
            Ok(receipt) => {
                told_applied(&receipt);
                Ok(receipt)
            }
            Err(Error::Database { error, body }) => {
                let refusal = self.refusal_behind(order, &error).await;
                Err(refusal.map_or(Error::Database { error, body }, Error::Body))
            }
            outcome => outcome,
        }
    }

    /// The transfer with an id, as recorded.
    ///
    /// # Errors
    ///
    /// A [`ReadError`].
    pub async fn transfer_by_id(&self, id: Uuid) -> Result<Option<Movement>, ReadError> {
        self.runner.query("look up transfer", async |tx| recorded(tx, id).await).await
    }

    /// What an error of the database says of the order.
    async fn refusal_behind(&self, order: &Order, error: &DbErr) -> Option<Refusal> {
        match (sqlstate(error).as_deref()?, order.share) {
            // A foreign key, on SQLite too; or what style `single` makes of it where there is none.
            ("23503" | "787" | "22P02", _) => self.missing_account(order).await.map(Refusal::UnknownAccount),
            // numeric_value_out_of_range: the other styles stop before it.
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

    /// Which account is missing: not every server says. Accounts are never deleted.
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

/// Tells that a transfer is in the database.
pub(in crate::bank) fn told_applied(receipt: &Receipt) {
    tracing::info!(id = %receipt.id, amount = %receipt.amount, "applied");
}

/// What is recorded under an id.
async fn recorded(tx: &Tx, id: Uuid) -> Result<Option<Movement>, DbErr> {
    transfers::Entity::find_by_id(id).into_partial_model().one(tx).await
}

/// Answers from the recorded transfer, where it agrees with every field the caller gave.
fn answer(tx: &Tx, order: &Order, recorded: &Movement) -> Result<Receipt, Refusal> {
    let by = if tx.earlier_unknown() { By::ThisRun } else { By::EarlierRun };
    let answer = order.found(recorded, by);
    match answer {
        // The id is somebody else's, so no attempt of this run is applied or can be.
        Err(_) => tx.proved_not_applied(),
        Ok(_) => tx.proved_applied(),
    }
    answer
}

/// Whether the transfer's row is written by a plain INSERT, which fails where the id is taken; then it is looked for. Before an INSERT with
/// ON CONFLICT CockroachDB reads the journal at that id: a fifth of the statement's time on one node, a round trip between
/// several.
fn writes_plainly(tx: &Tx) -> bool {
    tx.server() == Server::Cockroach && !tx.key_taken() && !tx.earlier_unknown()
}

fn receipt(order: &Order, amount: Amount) -> Receipt {
    Receipt { id: order.id, source: order.source, target: order.target, amount, by: By::ThisRun }
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
