//! Exports a table as CSV, from one snapshot, page by page. While a slow reader takes a page, the
//! transaction is kept from idling, because servers end idle transactions.

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

const PAGE: u64 = 5000;

/// How often a transaction that waits for the reader sends a statement.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// The rows to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Accounts, by number.
    Accounts,
    /// Transfers, by id.
    Transfers,
}

/// Why an export ended early. What was written is not a whole file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output cannot be written.
    #[error("it cannot be written: {0}")]
    Unwritable(#[from] io::Error),
    /// It was interrupted.
    #[error("it was interrupted")]
    Stopped,
    /// The snapshot was lost after part of it was written. Another one would not match that part.
    #[error("the snapshot was lost after {0} rows")]
    SnapshotLost(u64),
    /// The database's error.
    #[error("{}", database::reason(.0))]
    Database(#[from] DbErr),
}

struct Output<W, P> {
    /// `None` while it is written to.
    to: Option<W>,
    progress: P,
    rows: u64,
}

impl<W: Write + Send + 'static, P> Output<W, P> {
    /// Starts a write on a thread of its own, because the reader may block it.
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

type Writing<W> = tokio::task::JoinHandle<io::Result<W>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bank {
    /// Writes a header and rows. `progress` gets the number of rows after each page. Returns that
    /// number and the output.
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

trait Exported: Record {
    /// The page after a row, in the order of the keys.
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
