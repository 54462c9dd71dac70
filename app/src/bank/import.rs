//! Imports the rows of a file in idempotent chunks: many accounts by COPY, others by arrays.
//!
//! COPY adds all rows or none. When it meets an existing row, the chunk's next attempt uses arrays,
//! which ignore such rows. An existing row with the same opening balance (for a transfer: the same
//! accounts and amount) is present. One that differs is rejected, as is a repetition of an earlier
//! line's key.

mod conflict;
pub(crate) mod header;
mod seen;

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use database::Server;
use sea_orm_retry::{Class, Tx};

use super::Bank;
use super::bulk::Table;
use super::csv::Reader;
use super::file::{FileError, OnError, Rows, header};
use super::load::{Load, LoadError, Loaded, Loading, Part, Rejected, Stopped, load};
use super::record::{Account, Record, Transfer};
use conflict::{Compared, Reasons};
use header::{Header, Kind, Records, read_header};
use seen::Seen;

/// The fewest rows for COPY. It sends two messages, and the driver leaves Nagle's algorithm on, so
/// the second waits for a TCP acknowledgement: 40 ms on Linux.
pub const COPY_MIN: usize = 4000;

/// The result of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows added by this call.
    pub rows: u64,
    /// Rows added by an earlier call of the run.
    pub found: u64,
    /// Rows that existed already, equal to the file's.
    pub present: u64,
    /// Rejected rows.
    pub rejected: u64,
    /// Applied chunks, whoever applied them.
    pub chunks: u64,
}

impl Bank {
    /// Imports accounts or transfers, as the header says. An error of `reject` ends the import.
    ///
    /// # Errors
    ///
    /// A [`FileError`], with what is applied.
    pub async fn import(
        &self,
        input: impl BufRead + Send + 'static,
        loading: &Loading,
        on_error: OnError,
        progress: impl FnMut(&Imported),
        reject: impl FnMut(&Rejected) -> io::Result<()>,
    ) -> Result<Imported, (FileError, Imported)> {
        let header = header(input, &loading.stop, read_header).await;
        let Some((header, reader)) = header.map_err(|error| (error, Imported::default()))? else {
            return Ok(Imported::default());
        };
        match header.kind {
            Kind::Accounts => {
                self.import_rows::<Account>(reader, header, loading, on_error, progress, reject).await
            }
            Kind::Transfers => {
                self.import_rows::<Transfer>(reader, header, loading, on_error, progress, reject).await
            }
        }
    }

    async fn import_rows<R: Compared>(
        &self,
        reader: Reader<impl BufRead + Send + 'static>,
        header: Header,
        loading: &Loading,
        on_error: OnError,
        mut progress: impl FnMut(&Imported),
        reject: impl FnMut(&Rejected) -> io::Result<()>,
    ) -> Result<Imported, (FileError, Imported)> {
        let seen = Seen::new().map_err(|error| (FileError::NoTemporary(error), Imported::default()))?;
        let import = Import {
            table: R::TABLE.first(R::columns(header.fields)),
            meets_existing: AtomicBool::new(false),
            rows: Rows::new(on_error, reject),
            seen: Mutex::new(seen),
        };
        let chunks = import.rows.chunks(reader, Records::<R>::of(header), loading);
        let load_of = (&import, PhantomData::<R>);
        let sum = |loaded: &Loaded<Placed>| progress(&import.sum(loaded));
        let loaded = load(&self.runner, &load_of, loading, chunks, sum).await;
        if loaded.is_ok() {
            self.rows_added(R::TABLE.name).await;
        }
        import.conclude::<R>(loaded, loading.stop.is_cancelled())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Placed {
    present: u64,
    /// Rejected rows that are not yet reported.
    rejected: Vec<Rejected>,
}

impl AddAssign for Placed {
    fn add_assign(&mut self, part: Self) {
        self.present += part.present;
        self.rejected.extend(part.rejected);
    }
}

struct Import<F> {
    table: Table,
    /// Whether COPY would meet existing rows, as in the chunk before.
    meets_existing: AtomicBool,
    rows: Rows<F>,
    seen: Mutex<Seen>,
}

impl<R: Compared, F: FnMut(&Rejected) -> io::Result<()>> Load for (&Import<F>, PhantomData<R>) {
    type Row = R;
    type Done = Placed;
    const KIND: &'static str = "import";

    async fn add(&self, tx: &Tx, _: &Part<'_>, rows: &[R]) -> Result<Placed, LoadError> {
        let import = self.0;
        let mut placed = Placed::default();
        let sendable = import.without_rejected(rows.iter(), R::dangling(tx, rows).await?, &mut placed)?;
        if R::STANDS_ALONE && rows.len() >= COPY_MIN && import.may_copy(tx) {
            import.copy(tx, rows).await?;
            return Ok(placed);
        }
        let added =
            import.table.insert(tx, sendable.iter().map(|row| row.values(tx.get_database_backend()))).await?;
        let all = added == sendable.len() as u64;
        if !all {
            let different = R::different(tx, &sendable).await?;
            let there = import.without_rejected(sendable.iter().copied(), different, &mut placed)?;
            placed.present = there.len() as u64 - added;
        }
        import.meets_existing.store(!all, Ordering::Relaxed);
        Ok(placed)
    }

    async fn look_up(&self, tx: &Tx, _: &Part<'_>, rows: &[R]) -> Result<Placed, LoadError> {
        let mut placed = Placed::default();
        // Under [`OnError::Stop`] an applied chunk has all of its rows.
        if self.0.rows.on_error == OnError::Skip {
            let sendable = self.0.without_rejected(rows.iter(), R::dangling(tx, rows).await?, &mut placed)?;
            let different = R::different(tx, &sendable).await?;
            self.0.without_rejected(sendable.into_iter(), different, &mut placed)?;
        }
        Ok(placed)
    }

    fn committed(&self, rows: &[R], part: &mut Loaded<Placed>) -> Result<(), LoadError> {
        let import = self.0;
        let left_out = std::mem::take(&mut part.done.rejected);
        let added = if part.found == 0 { &mut part.rows } else { &mut part.found };
        *added -= part.done.present + left_out.len() as u64;
        for row in &left_out {
            import.rows.reject(row).map_err(LoadError::Unwritable)?;
        }
        let left_out: HashSet<u64> = left_out.into_iter().map(|row| row.line).collect();
        let mut seen = import.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows.iter().filter(|row| !left_out.contains(&row.line())) {
            seen.add(row.key(), row.line()).map_err(LoadError::Unwritable)?;
        }
        Ok(())
    }
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Import<F> {
    fn sum(&self, loaded: &Loaded<Placed>) -> Imported {
        Imported {
            rows: loaded.rows,
            found: loaded.found,
            present: loaded.done.present,
            rejected: self.rows.rejected(),
            chunks: loaded.chunks,
        }
    }

    /// Whether to try COPY. Not after a failed attempt, which may have been a COPY.
    fn may_copy(&self, tx: &Tx) -> bool {
        tx.server() != Server::Sqlite && tx.attempt() == 1 && !self.meets_existing.load(Ordering::Relaxed)
    }

    async fn copy<R: Record>(&self, tx: &Tx, rows: &[R]) -> Result<(), LoadError> {
        let mut text = Vec::new();
        for row in rows {
            row.write('\t', &mut text);
        }
        let copied = self.table.copy(tx, &text).await;
        if let Err(error) = &copied
            && Class::of(error) == Class::Duplicate
        {
            self.meets_existing.store(true, Ordering::Relaxed);
        }
        copied?;
        Ok(())
    }

    /// The rows without a reason against them. The others are kept for the report.
    fn without_rejected<'a, R: Record>(
        &self,
        rows: impl Iterator<Item = &'a R>,
        reasons: Reasons,
        placed: &mut Placed,
    ) -> Result<Vec<&'a R>, LoadError> {
        let mut others = Vec::with_capacity(reasons.len());
        for (row, reason) in rows.zip(reasons) {
            let Some(reason) = reason else {
                others.push(row);
                continue;
            };
            let mut text = Vec::new();
            row.write(',', &mut text);
            text.pop();
            placed.rejected.push(Rejected { line: row.line(), reason, row: text });
        }
        match self.rows.on_error {
            OnError::Stop if !placed.rejected.is_empty() => {
                Err(LoadError::Rejected(std::mem::take(&mut placed.rejected)))
            }
            OnError::Stop | OnError::Skip => Ok(others),
        }
    }

    fn conclude<R: Record>(
        self,
        loaded: Result<Loaded<Placed>, Stopped<Placed>>,
        interrupted: bool,
    ) -> Result<Imported, (FileError, Imported)> {
        let (loaded, ended) = self.rows.conclude(loaded);
        let mut imported = self.sum(&loaded);
        if let Some(error) = ended {
            return Err((error, imported));
        }
        // If every row was new, none repeats another. An interrupted run is not complete.
        if interrupted || imported.present + imported.found == 0 {
            return Ok(imported);
        }
        let mut first = None::<Rejected>;
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let told = seen.repeated(|row| {
            let name = R::key_text(row.key);
            let row = Rejected {
                line: row.line,
                reason: format!("{} {name} repeats line {}", R::NAME, row.first_line),
                row: name.into_bytes(),
            };
            self.rows.reject(&row)?;
            if first.as_ref().is_none_or(|first| first.line > row.line) {
                first = Some(row);
            }
            Ok(())
        });
        let repeated = self.rows.rejected() - imported.rejected;
        imported.rejected += repeated;
        // The first row of a key is present or found, and so are its repetitions.
        let of_present = repeated.min(imported.present);
        imported.present -= of_present;
        imported.found -= repeated - of_present;
        match (told, first) {
            (Err(error), _) => Err((FileError::Unwritable(error), imported)),
            (Ok(()), Some(row)) if self.rows.on_error == OnError::Stop => {
                Err((FileError::Rejected(row), imported))
            }
            (Ok(()), _) => Ok(imported),
        }
    }
}
