//! Idempotent chunks: each writes its own row in `batches` first, in its own transaction.

use crate::bank::{Error, Runner};
use ::entity::batches::{self, Column, Entity as Batches};
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, DbErr, EntityTrait, QuerySelect, sea_query::OnConflict,
};
use sea_orm_retry::Tx;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Its id, the same whenever the run is repeated.
    pub(crate) id: Uuid,
    /// Its number of rows, at least 1.
    pub(crate) rows: u64,
}

/// A run was repeated with another chunk size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this run has a chunk of {recorded} rows, not {asked}: repeat it with its first --count and --chunk")]
pub struct SizeChanged {
    /// The rows of the chunk as it was applied.
    pub recorded: i64,
    /// The rows of the chunk now.
    pub asked: u64,
}

pub(crate) enum Once<T> {
    /// This call applied it.
    Applied(T),
    /// An earlier call had applied it.
    Found(T),
    /// It was split, and will never be applied whole.
    InHalves,
}

/// The `rows` of a chunk that was split. Each half has a row of its own.
const IN_HALVES: i64 = 0;

/// Applies a chunk by `add`, or reads it by `look_up` if it is applied already.
///
/// # Errors
///
/// As [`Runner::run_idempotent`].
pub(crate) async fn apply_once<T, E, A, L>(
    runner: &Runner,
    batch: Batch,
    add: A,
    look_up: L,
) -> Result<Once<T>, Error<E>>
where
    E: From<DbErr> + From<SizeChanged> + std::fmt::Display,
    A: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
    L: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
{
    runner
        .run_idempotent("batch", async |tx| match write_own_row(tx, batch.id, rows_of(batch)).await? {
            None => {
                tx.proved_not_applied();
                Ok(Once::Applied(add(tx).await?))
            }
            Some(IN_HALVES) => {
                tx.proved_not_applied();
                Ok(Once::InHalves)
            }
            Some(recorded) if recorded == rows_of(batch) => {
                // After an ambiguous commit the row is this call's.
                let own = tx.earlier_unknown();
                tx.proved_applied();
                let there = look_up(tx).await?;
                Ok(if own { Once::Applied(there) } else { Once::Found(there) })
            }
            Some(recorded) => {
                tx.proved_not_applied();
                Err(SizeChanged { recorded, asked: batch.rows }.into())
            }
        })
        .await
}

/// Marks a chunk as split, for ever. Returns false if it was applied whole meanwhile.
///
/// # Errors
///
/// As [`Runner::run_idempotent`].
pub(crate) async fn halve<E>(runner: &Runner, batch: Batch) -> Result<bool, Error<E>>
where
    E: From<DbErr> + std::fmt::Display,
{
    runner
        .run_idempotent("halve batch", async |tx| {
            let recorded = write_own_row(tx, batch.id, IN_HALVES).await?;
            if recorded == Some(IN_HALVES) {
                tx.proved_applied()
            } else {
                tx.proved_not_applied()
            }
            Ok(recorded.is_none_or(|recorded| recorded == IN_HALVES))
        })
        .await
}

fn rows_of(batch: Batch) -> i64 {
    i64::try_from(batch.rows).unwrap_or(i64::MAX)
}

async fn write_own_row(tx: &Tx, id: Uuid, rows: i64) -> Result<Option<i64>, DbErr> {
    let row = batches::ActiveModel { id: Set(id), rows: Set(rows), created_at: NotSet };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    if Batches::insert(row).on_conflict(once).exec_without_returning(tx).await? == 1 {
        return Ok(None);
    }
    let there = Batches::find_by_id(id).select_only().column(Column::Rows).into_tuple().one(tx).await?;
    there.map(Some).ok_or_else(|| DbErr::RecordNotFound(format!("batch {id}")))
}
