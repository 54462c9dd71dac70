//! Applies one chunk in its transaction, in a constant number of statements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use database::Server;
use sea_orm::DbErr;
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::decide::{Decided, Decision, decide};
use super::marks::Mark;
use super::statements;
use crate::bank::lookup::movements;
use crate::bank::transfer::{By, Order};

/// Decides orders and writes the result. `some_recorded`: whether ids of the previous chunk were
/// recorded already; updated for this chunk.
///
/// Ids are looked up only if that was so, if an attempt met a recorded id, or if an order would be
/// refused. On PostgreSQL a lookup of free ids conflicts with every insert near them.
pub(super) async fn apply(
    tx: &Tx,
    chunk: Uuid,
    orders: &[Order],
    some_recorded: &AtomicBool,
) -> Result<Vec<Decision>, DbErr> {
    let balances = statements::lock(tx, &accounts(orders)).await?;
    let mut recorded = None;
    if tx.key_taken() || some_recorded.load(Ordering::Relaxed) {
        recorded = Some(movements(tx, &ids(orders)).await?);
    }
    let mut decided = decide(orders, recorded.as_ref().unwrap_or(&HashMap::new()), &balances);
    if recorded.is_none() && !decided.applies_all() {
        let found = movements(tx, &ids(orders)).await?;
        decided = decide(orders, &found, &balances);
        recorded = Some(found);
    }
    write(tx, &decided, some_recorded).await?;
    some_recorded.store(recorded.is_some_and(|recorded| !recorded.is_empty()), Ordering::Relaxed);
    mark(tx, chunk, orders, &decided.decisions).await?;
    Ok(decided.decisions)
}

/// Writes everything that was decided, or fails.
async fn write(tx: &Tx, decided: &Decided, some_recorded: &AtomicBool) -> Result<(), DbErr> {
    if decided.journal.is_empty() {
        return Ok(());
    }
    // See `transfer::writes_plainly`.
    let plainly = tx.server() == Server::Cockroach && !tx.key_taken();
    let written = statements::record(tx, &decided.journal, plainly).await?;
    if written != decided.journal.len() as u64 {
        some_recorded.store(true, Ordering::Relaxed);
        return Err(tx.again("an id of the chunk is recorded already"));
    }
    let written = statements::write_balances(tx, &decided.balances).await?;
    if written != decided.balances.len() as u64 {
        return Err(tx.again("an account of the chunk is not there any more"));
    }
    Ok(())
}

async fn mark(tx: &Tx, chunk: Uuid, orders: &[Order], decisions: &[Decision]) -> Result<(), DbErr> {
    let marks = orders.iter().zip(decisions).enumerate().filter_map(|(place, (order, decision))| {
        Some((Mark::id(chunk, place), Mark::of(order, decision)?.number()))
    });
    let marks: Vec<(Uuid, i64)> = marks.collect();
    if !marks.is_empty() {
        statements::write_marks(tx, &marks).await?;
    }
    Ok(())
}

/// The decisions of an applied chunk, as they were made. Orders that it applied have
/// [`By::ThisRun`].
pub(super) async fn look_up(tx: &Tx, chunk: Uuid, orders: &[Order]) -> Result<Vec<Decision>, DbErr> {
    let recorded = movements(tx, &ids(orders)).await?;
    let marks: Vec<Uuid> = (0..orders.len()).map(|place| Mark::id(chunk, place)).collect();
    let marked = statements::marks(tx, &marks).await?;
    let decision = |(order, id): (&Order, &Uuid)| {
        let mark = marked.get(id).copied().and_then(Mark::recorded);
        if let Some(refusal) = mark.and_then(|mark| mark.refusal(order)) {
            return Ok(Err(refusal));
        }
        let missing = || DbErr::RecordNotFound(format!("transfer {}, which its chunk has applied", order.id));
        let by = if mark.is_none() { By::ThisRun } else { By::EarlierRun };
        Ok(order.receipt_for(recorded.get(&order.id).ok_or_else(missing)?, by))
    };
    orders.iter().zip(&marks).map(decision).collect()
}

fn ids(orders: &[Order]) -> Vec<Uuid> {
    orders.iter().map(|order| order.id).collect()
}

pub(super) fn accounts(orders: &[Order]) -> Vec<i64> {
    let mut accounts: Vec<i64> = orders.iter().flat_map(|order| [order.source.0, order.target.0]).collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts
}
