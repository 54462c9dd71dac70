//! Style `orm`: read both accounts, compute, write both back, as the tutorial's sample does.
//!
//! Every attempt changes the source's row. While it is locked, no earlier attempt is under way, and
//! a lookup of the id is final. On SQLite BEGIN IMMEDIATE serialises writers.

use ::entity::{accounts, transfers};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set, Unchanged},
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use sea_orm_retry::Tx;

use super::{Order, Receipt, Refusal, Share, answer, receipt, recorded, writes_plainly};
use crate::bank::{Amount, Holding};

pub(super) async fn transfer(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    let (source, target) = lock_both(tx, order).await?;
    if let Some(recorded) = recorded(tx, order.id).await? {
        return answer(tx, order, &recorded);
    }
    if source.is_some() {
        tx.proved_not_applied();
    }
    if order.source == order.target {
        return Err(Refusal::SameAccount(order.source));
    }
    let source = source.ok_or(Refusal::UnknownAccount(order.source))?;
    let target = target.ok_or(Refusal::UnknownAccount(order.target))?;
    let amount = match order.share {
        Share::Exactly(amount) => amount,
        Share::Half => Amount::new(source.balance / 2).map_err(|_| Refusal::NothingToMove(order.source))?,
    };
    let source_balance = source.balance - amount.units();
    if source_balance < 0 {
        return Err(Refusal::InsufficientFunds { account: order.source, amount });
    }
    let target_balance = target
        .balance
        .checked_add(amount.units())
        .ok_or(Refusal::BalanceOverflow { account: order.target, amount })?;

    if !write(tx, order, amount).await? {
        // Another run has written the id since the lookup.
        let recorded = recorded(tx, order.id).await?;
        let recorded = recorded.ok_or_else(|| DbErr::RecordNotFound(order.id.to_string()))?;
        return answer(tx, order, &recorded);
    }
    let mut changed = 0;
    for (account, balance) in [(source, source_balance), (target, target_balance)] {
        let account =
            accounts::ActiveModel { id: Unchanged(account.id), balance: Set(balance), ..Default::default() };
        changed += account.update_without_returning(tx).await?.rows_affected;
    }
    if changed == 2 { Ok(receipt(order, amount)) } else { Err(Refusal::NotTwoBalances(changed)) }
}

/// Both accounts, locked in order, so that two transfers do not deadlock.
async fn lock_both(tx: &Tx, order: &Order) -> Result<(Option<Holding>, Option<Holding>), DbErr> {
    let locked = accounts::Entity::find()
        .filter(accounts::Column::Id.is_in([order.source.0, order.target.0]))
        .order_by_asc(accounts::Column::Id)
        .lock_exclusive()
        .into_partial_model::<Holding>()
        .all(tx)
        .await?;
    let found = |id| locked.iter().find(|account| account.id == id).copied();
    Ok((found(order.source.0), found(order.target.0)))
}

async fn write(tx: &Tx, order: &Order, amount: Amount) -> Result<bool, DbErr> {
    let row = transfers::ActiveModel {
        id: Set(order.id),
        source_id: Set(order.source.0),
        target_id: Set(order.target.0),
        amount: Set(amount.units()),
        created_at: NotSet,
    };
    let mut insert = transfers::Entity::insert(row);
    if !writes_plainly(tx) {
        insert = insert.on_conflict(OnConflict::column(transfers::Column::Id).do_nothing().to_owned());
    }
    Ok(insert.exec_without_returning(tx).await? == 1)
}
