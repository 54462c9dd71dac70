//! A chunk of rows, applied once: its row in `batches` is written first, in the chunk's own transaction.

use ::entity::batches::{self, Column, Entity as Batches};
use sea_orm::{ActiveValue::NotSet, ActiveValue::Set, DbErr, EntityTrait, sea_query::OnConflict};
use transaction::{Earlier, Error, Runner, Tx};
use uuid::Uuid;

/// One chunk of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its own id, the same whenever the run is told again.
    pub id: Uuid,
    /// How many rows it adds.
    pub rows: u64,
}

impl Batch {
    /// The chunk with this number of a run that does this kind of work.
    #[must_use]
    pub fn of_run(run: Uuid, kind: &str, number: u64, rows: u64) -> Self {
        Self { id: Uuid::new_v5(&run, format!("{kind}/{number}").as_bytes()), rows }
    }
}

/// Why a chunk is not applied by this call.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The run was told before with chunks of another size.
    #[error(
        "this run has a chunk of {recorded} rows where {asked} are asked for now: give the --count and --chunk it began with"
    )]
    SizeChanged {
        /// As applied before.
        recorded: i64,
        /// As asked now.
        asked: u64,
    },
    /// The database's error.
    #[error("{0}")]
    Database(#[from] DbErr),
}

/// Applies a chunk by `body`, unless it is there already: then `None`.
///
/// # Errors
///
/// As [`Runner::run_idempotent`].
pub async fn apply_once<T, F>(runner: &Runner, batch: Batch, body: F) -> Result<Option<T>, Error<BatchError>>
where
    F: AsyncFnOnce(&Tx) -> Result<T, DbErr> + Clone,
{
    runner
        .run_idempotent("batch", async |tx| {
            if let Some(recorded) = write_own_row(tx, batch).await? {
                if u64::try_from(recorded.rows) != Ok(batch.rows) {
                    tx.settle(Earlier::Dead);
                    return Err(BatchError::SizeChanged { recorded: recorded.rows, asked: batch.rows });
                }
                tx.settle(Earlier::Applied);
                return Ok(None);
            }
            tx.settle(Earlier::Dead);
            Ok(Some(body(tx).await?))
        })
        .await
}

/// Writes the chunk's row; answers with the row that was there instead.
async fn write_own_row(tx: &Tx, batch: Batch) -> Result<Option<batches::Model>, DbErr> {
    let row = batches::ActiveModel {
        id: Set(batch.id),
        rows: Set(i64::try_from(batch.rows).unwrap_or(i64::MAX)),
        created_at: NotSet,
    };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    if Batches::insert(row).on_conflict(once).exec_without_returning(tx).await? == 1 {
        return Ok(None);
    }
    Batches::find_by_id(batch.id).one(tx).await
}
