//! Writing the bank out as CSV, one snapshot a table, read page by page: the whole of it is never in memory.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use ::entity::prelude::{Accounts, Transfers};
use ::entity::{accounts, transfers};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio_util::sync::CancellationToken;
use transaction::{Error, Tx};

use super::bulk::Column;
use super::record::{Account, Record, Transfer};
use super::{Bank, row};

/// So many rows are read at once.
const PAGE: u64 = 5000;

/// Which rows to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Accounts, in the order of their numbers.
    Accounts,
    /// Transfers, in the order of their ids.
    Transfers,
}

/// Why an export ended early. What was written is no whole file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be written.
    #[error("it cannot be written: {0}")]
    Unwritable(#[from] io::Error),
    /// It was stopped.
    #[error("it was stopped")]
    Stopped,
    /// The snapshot was lost after some of it was written; another one would not go with that.
    #[error("the snapshot was lost after {0} rows")]
    SnapshotLost(u64),
    /// The database's error.
    #[error("{}", database::reason(.0))]
    Database(#[from] DbErr),
}

/// Where an export goes, however many attempts it takes.
struct Output<W, P> {
    to: W,
    progress: P,
    rows: u64,
}

impl Bank {
    /// Writes rows after a header, telling `progress` after each page how many those are; answers with how many there were.
    ///
    /// # Errors
    ///
    /// An [`ExportError`].
    pub async fn export(
        &self,
        what: What,
        to: impl Write,
        stop: &CancellationToken,
        progress: impl FnMut(u64),
    ) -> Result<u64, Error<ExportError>> {
        let output = Mutex::new(Output { to, progress, rows: 0 });
        self.runner
            .read("export", async |tx| match what {
                What::Accounts => write_pages::<Account>(tx, &output, stop).await,
                What::Transfers => write_pages::<Transfer>(tx, &output, stop).await,
            })
            .await?;
        let mut output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
        output.to.flush().map_err(|error| Error::Body(error.into()))?;
        Ok(output.rows)
    }
}

async fn write_pages<R: Exported>(
    tx: &Tx,
    output: &Mutex<Output<impl Write, impl FnMut(u64)>>,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let output = || output.lock().unwrap_or_else(PoisonError::into_inner);
    let written = output().rows;
    if written > 0 {
        return Err(ExportError::SnapshotLost(written));
    }
    let mut last = None;
    loop {
        if stop.is_cancelled() {
            return Err(ExportError::Stopped);
        }
        let page = R::page(tx, last.as_ref()).await?;
        let mut text = Vec::new();
        if last.is_none() {
            let names: Vec<_> = R::TABLE.columns.iter().map(Column::name).collect();
            text.extend((names.join(",") + "\n").into_bytes());
        }
        for row in &page {
            row.write(',', &mut text);
        }
        let mut output = output();
        output.to.write_all(&text)?;
        output.rows += page.len() as u64;
        let rows = output.rows;
        (output.progress)(rows);
        let Some(end) = page.into_iter().last() else { return Ok(()) };
        last = Some(end);
    }
}

/// A row that can be read page by page.
trait Exported: Record {
    /// The rows after one, in the order of their keys.
    async fn page(tx: &Tx, after: Option<&Self>) -> Result<Vec<Self>, DbErr>;
}

impl Exported for Account {
    async fn page(tx: &Tx, after: Option<&Self>) -> Result<Vec<Self>, DbErr> {
        let mut query = Accounts::find().order_by_asc(accounts::Column::Id).limit(PAGE);
        if let Some(after) = after {
            query = query.filter(accounts::Column::Id.gt(after.id));
        }
        Ok(row::accounts(tx, query).await?.into_iter().map(Self::from).collect())
    }
}

impl Exported for Transfer {
    async fn page(tx: &Tx, after: Option<&Self>) -> Result<Vec<Self>, DbErr> {
        let mut query = Transfers::find().order_by_asc(transfers::Column::Id).limit(PAGE);
        if let Some(after) = after {
            query = query.filter(transfers::Column::Id.gt(after.id));
        }
        Ok(row::transfers(tx, query).await?.into_iter().map(Self::from).collect())
    }
}
