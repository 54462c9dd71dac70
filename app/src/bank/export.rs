//! Writing the bank out as CSV, one snapshot a table, read page by page: the whole of it is never in memory.
//!
//! Whoever reads may be slow: pages are written beside the transaction, which is kept from idling meanwhile, for servers end
//! idle ones. So the snapshot lasts as long as this program does, and no longer.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bank::Error;
use ::entity::prelude::{Accounts, Transfers};
use ::entity::{accounts, transfers};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sea_orm_retry::Tx;
use tokio_util::sync::CancellationToken;

use super::bulk::Column;
use super::record::{Account, Record, Transfer};
use super::{Bank, row};

/// So many rows are read at once.
const PAGE: u64 = 5000;

/// How often the server hears of a transaction that waits for its reader.
const KEEP_EVERY: Duration = Duration::from_secs(1);

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
    /// Not there while it is written to.
    to: Option<W>,
    progress: P,
    rows: u64,
}

impl<W: Write + Send + 'static, P> Output<W, P> {
    /// Begins to write, on a thread of its own: it takes as long as the reader likes.
    fn begin(&mut self, write: impl FnOnce(&mut W) -> io::Result<()> + Send + 'static) -> Writing<W> {
        let to = self.to.take();
        tokio::task::spawn_blocking(move || {
            let mut to = to.ok_or_else(|| io::Error::other("the write before it has not ended"))?;
            write(&mut to)?;
            Ok(to)
        })
    }

    fn end(&mut self, written: Result<io::Result<W>, tokio::task::JoinError>) -> Result<(), ExportError> {
        self.to = Some(written.map_err(io::Error::other)??);
        Ok(())
    }
}

/// A write on its way.
type Writing<W> = tokio::task::JoinHandle<io::Result<W>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bank {
    /// Writes rows after a header, telling `progress` after each page how many those are; answers with how many there were, and
    /// with where they went.
    ///
    /// # Errors
    ///
    /// An [`ExportError`].
    pub async fn export<W: Write + Send + 'static>(
        &self,
        what: What,
        to: W,
        stop: &CancellationToken,
        progress: impl FnMut(u64),
    ) -> Result<(u64, W), Error<ExportError>> {
        let output = Mutex::new(Output { to: Some(to), progress, rows: 0 });
        self.runner
            .read("export", async |tx| match what {
                What::Accounts => write_pages::<Account>(tx, &output, stop).await,
                What::Transfers => write_pages::<Transfer>(tx, &output, stop).await,
            })
            .await?;
        let mut output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
        let flushing = output.begin(W::flush);
        let flushed = tokio::select! {
            flushed = flushing => output.end(flushed),
            () = stop.cancelled() => Err(ExportError::Stopped),
        };
        flushed.map_err(Error::Body)?;
        Ok((output.rows, output.to.expect("it was given back")))
    }
}

async fn write_pages<R: Exported>(
    tx: &Tx,
    output: &Mutex<Output<impl Write + Send + 'static, impl FnMut(u64)>>,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let (rows, untouched) = {
        let output = lock(output);
        (output.rows, output.to.is_some())
    };
    if rows > 0 || !untouched {
        return Err(ExportError::SnapshotLost(rows));
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
        let writing = lock(output).begin(move |to| to.write_all(&text));
        let written = kept(tx, writing, stop).await?;
        {
            let mut output = lock(output);
            output.end(written)?;
            output.rows += page.len() as u64;
            let rows = output.rows;
            (output.progress)(rows);
        }
        let Some(end) = page.into_iter().last() else { return Ok(()) };
        last = Some(end);
    }
}

/// Waits for a write, and keeps the transaction from idling.
async fn kept<T>(
    tx: &Tx,
    mut writing: tokio::task::JoinHandle<T>,
    stop: &CancellationToken,
) -> Result<Result<T, tokio::task::JoinError>, ExportError> {
    loop {
        tokio::select! {
            written = &mut writing => return Ok(written),
            () = stop.cancelled() => return Err(ExportError::Stopped),
            () = tokio::time::sleep(KEEP_EVERY) => {
                tx.execute_unprepared("SELECT 1").await?;
            }
        }
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
