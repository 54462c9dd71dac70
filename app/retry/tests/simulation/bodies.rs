//! The transactions' bodies, one per style.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, TransactionSession, TransactionTrait};
use sea_orm_retry::Tx;

use crate::client::{Kind, Refusal};
use crate::request::{Request, Row, encode};
use crate::server::Answer;
use crate::wire::last;

pub(crate) async fn ask(tx: &Tx, request: Request) -> Result<Answer, DbErr> {
    tx.execute_raw(encode(&request)).await?;
    Ok(last())
}

pub(crate) async fn insert_first(tx: &Tx, id: u64, row: Row, strict: bool) -> Result<Answer, Refusal> {
    if ask(tx, Request::Insert { id, row, strict }).await?.rows == 0 {
        return found(tx, id).await?.ok_or(Refusal::Impossible("a taken id that does not exist"));
    }
    tx.proved_not_applied();
    move_money(tx, row).await
}

pub(crate) async fn lock_first(tx: &Tx, id: u64, row: Row) -> Result<Answer, Refusal> {
    let balance = ask(tx, Request::Lock { source: row.source, target: row.target }).await?.value;
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    tx.proved_not_applied();
    if balance < row.amount {
        return Err(Refusal::Funds);
    }
    if ask(tx, Request::Insert { id, row, strict: false }).await?.rows == 0 {
        return found(tx, id).await?.ok_or(Refusal::Impossible("a taken id that does not exist"));
    }
    move_money(tx, row).await
}

pub(crate) async fn insert_strictly(tx: &Tx, id: u64, row: Row) -> Result<Answer, Refusal> {
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    ask(tx, Request::Insert { id, row, strict: true }).await?;
    tx.proved_not_applied();
    move_money(tx, row).await
}

pub(crate) async fn insert_nested(tx: &Tx, id: u64, row: Row, blindly: bool) -> Result<Answer, Refusal> {
    let nested = tx.begin().await?;
    let inserted = ask(&nested, Request::Insert { id, row, strict: true }).await;
    let nested = if blindly || inserted.is_ok() { nested.commit().await } else { nested.rollback().await };
    let ended = if blindly { nested } else { nested.and(inserted.map(drop)) };
    if let Err(error) = ended {
        return found(tx, id).await?.ok_or(Refusal::Database(error));
    }
    tx.proved_not_applied();
    // May fail.
    let passing = tx.begin().await?;
    if ask(&passing, Request::Look { id }).await.is_ok() {
        passing.commit().await?;
    } else {
        let _ = passing.rollback().await;
    }
    move_money(tx, row).await
}

pub(crate) async fn statement(tx: &Tx, id: u64, row: Row, strict: bool) -> Result<Answer, Refusal> {
    let answer = ask(tx, Request::Whole { id, row, strict }).await?;
    if answer.rows == 2 {
        return Ok(answer);
    }
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    tx.proved_not_applied();
    Err(Refusal::Funds)
}

pub(crate) async fn once(tx: &Tx, kind: Kind, row: Row) -> Result<Answer, Refusal> {
    ask(tx, Request::Mark { tag: row.run, row }).await?;
    let debit = ask(tx, Request::Debit { account: row.source, amount: row.amount });
    let debited = match kind {
        Kind::Impatient => match tokio::time::timeout(Duration::from_millis(3), debit).await {
            Ok(answer) => answer?,
            Err(_) => return Ok(Answer::default()),
        },
        Kind::Swallowing => debit.await.unwrap_or(Answer { rows: 1, value: 0 }),
        _ => debit.await?,
    };
    if debited.rows == 0 {
        return Err(Refusal::Funds);
    }
    let credited = ask(tx, Request::Credit { account: row.target, amount: row.amount }).await;
    if kind == Kind::Swallowing { Ok(credited.unwrap_or_default()) } else { Ok(credited?) }
}

pub(crate) async fn read(tx: &Tx) -> Result<Answer, Refusal> {
    let first = ask(tx, Request::Sum).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    if ask(tx, Request::Sum).await? != first {
        return Err(Refusal::Impossible("a snapshot that changed"));
    }
    Ok(first)
}

async fn found(tx: &Tx, id: u64) -> Result<Option<Answer>, DbErr> {
    let found = ask(tx, Request::Look { id }).await?;
    if found.rows == 1 {
        tx.proved_applied();
    }
    Ok((found.rows == 1).then_some(found))
}

async fn move_money(tx: &Tx, row: Row) -> Result<Answer, Refusal> {
    if ask(tx, Request::Debit { account: row.source, amount: row.amount }).await?.rows == 0 {
        return Err(Refusal::Funds);
    }
    Ok(ask(tx, Request::Credit { account: row.target, amount: row.amount }).await?)
}

/// Locks the accounts, looks up the ids, decides in memory, writes the result. Money that one order
/// brings can leave by the next.
pub(crate) async fn chunk(tx: &Tx, id: u64, orders: &[(u64, Row)]) -> Result<Answer, Refusal> {
    let own = Row { amount: 0, ..orders[0].1 };
    if ask(tx, Request::Insert { id, row: own, strict: false }).await?.rows == 0 {
        return found(tx, id).await?.ok_or(Refusal::Impossible("a taken id that does not exist"));
    }
    tx.proved_not_applied();
    let mut before = BTreeMap::new();
    for account in orders.iter().flat_map(|(_, row)| [row.source, row.target]).collect::<BTreeSet<_>>() {
        let balance = ask(tx, Request::Lock { source: account, target: account }).await?.value;
        before.insert(account, balance);
    }
    let mut after = before.clone();
    let mut applied = Vec::new();
    for (id, row) in orders {
        let is_new = !applied.iter().any(|(applied, _)| applied == id);
        let is_recorded = ask(tx, Request::Look { id: *id }).await?.rows > 0;
        if is_new && !is_recorded && after[&row.source] >= row.amount {
            *after.entry(row.source).or_default() -= row.amount;
            *after.entry(row.target).or_default() += row.amount;
            applied.push((*id, *row));
        }
    }
    for (id, row) in applied {
        if ask(tx, Request::Insert { id, row, strict: false }).await?.rows == 0 {
            return Err(tx.again("an id of the chunk is recorded already").into());
        }
    }
    for (account, balance) in after {
        let change = balance - before[&account];
        let request = if change < 0 {
            Request::Debit { account, amount: -change }
        } else {
            Request::Credit { account, amount: change }
        };
        if ask(tx, request).await?.rows == 0 {
            return Err(Refusal::Impossible("a locked balance that changed"));
        }
    }
    Ok(Answer { rows: 1, value: 0 })
}
