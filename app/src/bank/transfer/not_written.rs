//! The outcome when an INSERT has written no transfer.

use ::entity::accounts;
use sea_orm::{EntityTrait, QuerySelect, Select};
use sea_orm_retry::Tx;

use super::{Order, Receipt, Refusal, Share, answer, recorded};
use crate::bank::{AccountId, Holding};

/// What proves that no attempt has applied the transfer, if its id is not recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The statement that wrote nothing, a whole transaction.
    Statement,
    /// The lock on the source's row, which every attempt changes.
    SourceLock,
}

/// The id is taken, or the source does not exist or has too little.
pub(super) async fn not_written(tx: &Tx, order: &Order, proof: Proof) -> Result<Receipt, Refusal> {
    let account = |id: AccountId| accounts::Entity::find_by_id(id.0);
    let read =
        async |account: Select<accounts::Entity>| account.into_partial_model::<Holding>().one(tx).await;
    let locked = match proof {
        Proof::SourceLock => read(account(order.source).lock_exclusive()).await?,
        Proof::Statement => None,
    };
    if let Some(recorded) = recorded(tx, order.id).await? {
        return answer(tx, order, &recorded);
    }
    if proof == Proof::Statement || locked.is_some() {
        tx.proved_not_applied();
    }
    if order.source == order.target {
        return Err(Refusal::SameAccount(order.source));
    }
    let source = match proof {
        Proof::SourceLock => locked,
        Proof::Statement => read(account(order.source)).await?,
    };
    let target = read(account(order.target)).await?;
    Err(match (source, target, order.share) {
        (None, ..) => Refusal::UnknownAccount(order.source),
        (_, None, _) => Refusal::UnknownAccount(order.target),
        (_, _, Share::Exactly(amount)) => Refusal::InsufficientFunds { account: order.source, amount },
        (_, _, Share::Half) => Refusal::NothingToMove(order.source),
    })
}
