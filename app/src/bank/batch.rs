//! A chunk of rows, applied once: its row in `batches` is written first, in the chunk's own transaction.

use ::entity::batches::{self, Column, Entity as Batches};
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, DbErr, EntityTrait, QuerySelect, sea_query::OnConflict,
};
use transaction::{Earlier, Error, Runner, Tx};
use uuid::Uuid;

use super::load::LoadError;

/// One chunk of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Its own id, the same whenever the run is told again.
    pub(crate) id: Uuid,
    /// How many rows it has, at least 1.
    pub(crate) rows: u64,
}

/// What became of a chunk in a transaction that ended well.
pub(crate) enum Once<T> {
    /// This call has applied it.
    Applied(T),
    /// An earlier one had.
    Found(T),
    /// It is not applied and never will be as a whole: its halves are chunks of their own.
    InHalves,
}

/// The rows of a chunk that is in halves. Those of the halves are told by their own.
const IN_HALVES: i64 = 0;

/// Applies a chunk by `add`; or, where it is there already, looks at it by `look`.
///
/// # Errors
///
/// As [`Runner::run_idempotent`].
pub(crate) async fn apply_once<T, A, L>(
    runner: &Runner,
    batch: Batch,
    add: A,
    look: L,
) -> Result<Once<T>, Error<LoadError>>
where
    A: AsyncFnOnce(&Tx) -> Result<T, LoadError> + Clone,
    L: AsyncFnOnce(&Tx) -> Result<T, LoadError> + Clone,
{
    runner
        .run_idempotent("batch", async |tx| match write_own_row(tx, batch.id, rows_of(batch)).await? {
            None => {
                tx.settle(Earlier::Dead);
                Ok(Once::Applied(add(tx).await?))
            }
            Some(IN_HALVES) => {
                tx.settle(Earlier::Dead);
                Ok(Once::InHalves)
            }
            Some(recorded) if recorded == rows_of(batch) => {
                // By an attempt of this very call, where one ended unknown.
                let own = tx.earlier_unknown();
                tx.settle(Earlier::Applied);
                let there = look(tx).await?;
                Ok(if own { Once::Applied(there) } else { Once::Found(there) })
            }
            Some(recorded) => {
                tx.settle(Earlier::Dead);
                Err(LoadError::SizeChanged { recorded, asked: batch.rows })
            }
        })
        .await
}

/// Gives a chunk up as a whole, for ever: from now on it is its halves. Says whether it is: where an attempt to
/// apply it whole has landed after all, or another process's, it stays that.
///
/// # Errors
///
/// As [`Runner::run_idempotent`].
pub(crate) async fn halve(runner: &Runner, batch: Batch) -> Result<bool, Error<LoadError>> {
    runner
        .run_idempotent("halve batch", async |tx| {
            let recorded = write_own_row(tx, batch.id, IN_HALVES).await?;
            tx.settle(if recorded == Some(IN_HALVES) { Earlier::Applied } else { Earlier::Dead });
            Ok(recorded.is_none_or(|recorded| recorded == IN_HALVES))
        })
        .await
}

fn rows_of(batch: Batch) -> i64 {
    i64::try_from(batch.rows).unwrap_or(i64::MAX)
}

/// Writes the chunk's row; answers with the rows of the one that was there instead.
async fn write_own_row(tx: &Tx, id: Uuid, rows: i64) -> Result<Option<i64>, DbErr> {
    let row = batches::ActiveModel { id: Set(id), rows: Set(rows), created_at: NotSet };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    if Batches::insert(row).on_conflict(once).exec_without_returning(tx).await? == 1 {
        return Ok(None);
    }
    let there = Batches::find_by_id(id).select_only().column(Column::Rows).into_tuple().one(tx).await?;
    there.map(Some).ok_or_else(|| DbErr::RecordNotFound(format!("batch {id}")))
}
