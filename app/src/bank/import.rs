//! Adding the rows of a file, in chunks that are each applied once: COPY for many accounts on a server that has it, arrays
//! otherwise.
//!
//! COPY is one statement of the chunk's transaction like any other: the chunk is in memory, so it can be sent again.
//! It takes all rows or none, so where it meets a row that is there already the chunk's next attempt goes by arrays, which leave such
//! rows alone, and looks at what was not added.
//!
//! A row that is there with the same opening balance (the same accounts and amount, for a transfer) is present, and not
//! added again; one that is there with another is rejected, and so is one whose key stood on an earlier line.

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

/// The fewest rows that go by COPY. What it sends and how it ends are two messages, of which the second waits until the
/// server's TCP has acknowledged the first (40 ms on Linux), for the driver leaves Nagle's algorithm on; arrays are one.
pub const COPY_MIN: usize = 4000;

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows added by this call.
    pub rows: u64,
    /// Rows that an earlier call of the same run had put in place.
    pub found: u64,
    /// Rows that were there already, equal to the file's.
    pub present: u64,
    /// Rows that cannot be added.
    pub rejected: u64,
    /// Chunks in place, whoever applied them.
    pub chunks: u64,
}

impl Bank {
    /// Adds the rows of a file, accounts or transfers as its header says, telling `progress` after each chunk and
    /// `reject` of each row that is left out. What that fails with ends the import.
    ///
    /// # Errors
    ///
    /// An [`FileError`], with what is in place.
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
            in_the_way: AtomicBool::new(false),
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

/// What came of the rows of chunks that are in place.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    present: u64,
    /// Rows left out, until they are told.
    rejected: Vec<Rejected>,
}

impl AddAssign for Placed {
    fn add_assign(&mut self, part: Self) {
        self.present += part.present;
        self.rejected.extend(part.rejected);
    }
}

/// An import on its way.
struct Import<F> {
    table: Table,
    /// Whether COPY has met a row that is there already, and no chunk since was without.
    in_the_way: AtomicBool,
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
        let sendable = import.leave_out(rows.iter(), R::dangling(tx, rows).await?, &mut placed)?;
        if R::STANDS_ALONE && rows.len() >= COPY_MIN && import.way_is_free(tx) {
            import.copy(tx, rows).await?;
            return Ok(placed);
        }
        let added =
            import.table.insert(tx, sendable.iter().map(|row| row.values(tx.get_database_backend()))).await?;
        let all = added == sendable.len() as u64;
        if !all {
            let different = R::different(tx, &sendable).await?;
            let there = import.leave_out(sendable.iter().copied(), different, &mut placed)?;
            placed.present = there.len() as u64 - added;
        }
        import.in_the_way.store(!all, Ordering::Relaxed);
        Ok(placed)
    }

    async fn look(&self, tx: &Tx, _: &Part<'_>, rows: &[R]) -> Result<Placed, LoadError> {
        let mut placed = Placed::default();
        // Where no row may be left out, a chunk is in place with all of its rows.
        if self.0.rows.on_error == OnError::Skip {
            let sendable = self.0.leave_out(rows.iter(), R::dangling(tx, rows).await?, &mut placed)?;
            let different = R::different(tx, &sendable).await?;
            self.0.leave_out(sendable.into_iter(), different, &mut placed)?;
        }
        Ok(placed)
    }

    fn in_place(&self, rows: &[R], part: &mut Loaded<Placed>) -> Result<(), LoadError> {
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

    /// Whether COPY is worth a try: not where an attempt of this chunk has failed, perhaps by COPY.
    fn way_is_free(&self, tx: &Tx) -> bool {
        tx.server() != Server::Sqlite && tx.attempt() == 1 && !self.in_the_way.load(Ordering::Relaxed)
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
            self.in_the_way.store(true, Ordering::Relaxed);
        }
        copied?;
        Ok(())
    }

    /// The rows without those that there is a reason against, which are kept to be told. In order they are the file's.
    fn leave_out<'a, R: Record>(
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
        // Where every row was new none repeats another, and an interrupted run has more to come.
        if interrupted || imported.present + imported.found == 0 {
            return Ok(imported);
        }
        let mut first = None::<Rejected>;
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let told = seen.repeated(|row| {
            let name = R::key_text(row.key);
            let row = Rejected {
                line: row.line,
                reason: format!("{} {name} stands on line {} already", R::NAME, row.first_line),
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
        // The first of each is present, or was found: so are those that repeat it.
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
