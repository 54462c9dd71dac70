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
pub(crate) mod parse;
mod seen;

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bank::Error;
use database::Server;
use futures_util::stream::{self, Stream};
use sea_orm_retry::{Class, Tx};
use tokio::sync::mpsc::Receiver;

use super::Bank;
use super::bulk::Table;
use super::csv::Reader;
use super::load::{Chunk, Load, LoadError, Loaded, Loading, Rejected, Stopped, load};
use super::record::{Account, Record, Transfer};
use conflict::{Compared, Reasons};
use parse::{Found, Header, Kind, parse, read_header};
use seen::Seen;

/// The fewest rows that go by COPY. What it sends and how it ends are two messages, of which the second waits until the
/// server's TCP has acknowledged the first (40 ms on Linux), for the driver leaves Nagle's algorithm on; arrays are one.
pub const COPY_MIN: usize = 4000;

/// What to do about a row that cannot be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Begin no further chunk.
    #[default]
    Stop,
    /// Leave it out.
    Skip,
}

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

/// Why an import ended early. The chunks before stay.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It has no header that is known. Nothing is changed.
    #[error("{0}")]
    Header(String),
    /// The file cannot be read further.
    #[error("the file cannot be read further: {0}")]
    Unreadable(io::Error),
    /// A row cannot be added, and [`OnError::Stop`] was asked for.
    #[error("line {}: {}", .0.line, .0.reason)]
    Rejected(Rejected),
    /// There is no folder for temporary files. Nothing is changed.
    #[error("no temporary file can be made in {folder}: {0}", folder = std::env::temp_dir().display())]
    NoTemporary(io::Error),
    /// What was rejected cannot be told, or which rows are in place not be kept.
    #[error("a file that is needed on the way cannot be written: {0}")]
    Unwritable(io::Error),
    /// A chunk was not applied.
    #[error("{0}")]
    Load(Box<Error<LoadError>>),
}

impl Bank {
    /// Adds the rows of a file, accounts or transfers as its header says, telling `progress` after each chunk and
    /// `reject` of each row that is left out. What that fails with ends the import.
    ///
    /// # Errors
    ///
    /// An [`ImportError`], with what is in place.
    pub async fn import(
        &self,
        input: impl BufRead + Send + 'static,
        loading: &Loading,
        on_error: OnError,
        progress: impl FnMut(&Imported),
        reject: impl FnMut(&Rejected) -> io::Result<()>,
    ) -> Result<Imported, (ImportError, Imported)> {
        let header = tokio::task::spawn_blocking(move || {
            let mut reader = Reader::new(input);
            read_header(&mut reader).map(|header| (header, reader))
        });
        let nothing = |error| (error, Imported::default());
        let (header, reader) = tokio::select! {
            header = header => header
                .map_err(|panicked| nothing(ImportError::Unreadable(panicked.into())))?
                .map_err(|reason| nothing(ImportError::Header(reason)))?,
            () = loading.stop.cancelled() => return Ok(Imported::default()),
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
    ) -> Result<Imported, (ImportError, Imported)> {
        let seen = Seen::new().map_err(|error| (ImportError::NoTemporary(error), Imported::default()))?;
        let import = Import {
            table: R::TABLE.first(R::columns(header.fields)),
            on_error,
            in_the_way: AtomicBool::new(false),
            state: Mutex::new(State { seen, reject, rejected: 0, ended: None }),
        };
        let chunk = loading.chunk;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        std::thread::spawn(move || parse::<R, _>(reader, header.fields, chunk, &sender));
        let rows = (&import, PhantomData::<R>);
        let sum = |loaded: &Loaded<Placed>| progress(&import.state().sum(loaded));
        let loaded = load(&self.runner, &rows, loading, import.chunks(receiver), sum).await;
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
    on_error: OnError,
    /// Whether COPY has met a row that is there already, and no chunk since was without.
    in_the_way: AtomicBool,
    state: Mutex<State<F>>,
}

/// What its chunks have in common.
struct State<F> {
    seen: Seen,
    reject: F,
    /// How many rows were told to that.
    rejected: u64,
    /// Why no more rows come, where that is not the file's end.
    ended: Option<ImportError>,
}

impl<F: FnMut(&Rejected) -> io::Result<()>> State<F> {
    fn reject(&mut self, row: &Rejected) -> io::Result<()> {
        self.rejected += 1;
        (self.reject)(row)
    }

    fn sum(&self, loaded: &Loaded<Placed>) -> Imported {
        Imported {
            rows: loaded.rows,
            found: loaded.found,
            present: loaded.done.present,
            rejected: self.rejected,
            chunks: loaded.chunks,
        }
    }
}

impl<R: Compared, F: FnMut(&Rejected) -> io::Result<()>> Load for (&Import<F>, PhantomData<R>) {
    type Row = R;
    type Done = Placed;
    const KIND: &'static str = "import";

    async fn add(&self, tx: &Tx, _: &str, rows: &[R]) -> Result<Placed, LoadError> {
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

    async fn look(&self, tx: &Tx, rows: &[R]) -> Result<Placed, LoadError> {
        let mut placed = Placed::default();
        // Where no row may be left out, a chunk is in place with all of its rows.
        if self.0.on_error == OnError::Skip {
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
        let mut state = import.state();
        for row in &left_out {
            state.reject(row).map_err(LoadError::Unwritable)?;
        }
        let left_out: HashSet<u64> = left_out.into_iter().map(|row| row.line).collect();
        for row in rows.iter().filter(|row| !left_out.contains(&row.line())) {
            state.seen.add(row.key(), row.line()).map_err(LoadError::Unwritable)?;
        }
        Ok(())
    }
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Import<F> {
    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        match self.on_error {
            OnError::Stop if !placed.rejected.is_empty() => {
                Err(LoadError::Rejected(std::mem::take(&mut placed.rejected)))
            }
            OnError::Stop | OnError::Skip => Ok(others),
        }
    }

    /// The chunks that the reading thread finds.
    fn chunks<R: Record>(&self, found: Receiver<Found<R>>) -> impl Stream<Item = Chunk<R>> {
        stream::unfold(found, async |mut found| {
            loop {
                let stopped = || Found::Broken(io::Error::other("its reader stopped"));
                let why = match found.recv().await.unwrap_or_else(stopped) {
                    Found::Chunk(chunk) => return Some((chunk, found)),
                    Found::End => return None,
                    Found::Broken(error) => ImportError::Unreadable(error),
                    Found::Rejected(row) if self.on_error == OnError::Stop => ImportError::Rejected(row),
                    Found::Rejected(row) => match self.state().reject(&row) {
                        Ok(()) => continue,
                        Err(error) => ImportError::Unwritable(error),
                    },
                };
                self.state().ended = Some(why);
                return None;
            }
        })
    }

    fn conclude<R: Record>(
        self,
        loaded: Result<Loaded<Placed>, Stopped<Placed>>,
        interrupted: bool,
    ) -> Result<Imported, (ImportError, Imported)> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (loaded, ended) = match loaded {
            Ok(loaded) => (loaded, state.ended.take()),
            Err((error, loaded)) => (loaded, Some(error.into())),
        };
        let mut imported = state.sum(&loaded);
        if let Some(error) = ended {
            // In this way to end there is one that nobody was told of.
            imported.rejected += u64::from(matches!(error, ImportError::Rejected(_)));
            return Err((error, imported));
        }
        // Where every row was new none repeats another, and an interrupted run has more to come.
        if interrupted || imported.present + imported.found == 0 {
            return Ok(imported);
        }
        let (mut first, mut repeated) = (None::<Rejected>, 0);
        let State { seen, mut reject, .. } = state;
        let told = seen.repeated(|row| {
            let name = R::key_text(row.key);
            let row = Rejected {
                line: row.line,
                reason: format!("{} {name} stands on line {} already", R::NAME, row.first_line),
                row: name.into_bytes(),
            };
            reject(&row)?;
            repeated += 1;
            if first.as_ref().is_none_or(|first| first.line > row.line) {
                first = Some(row);
            }
            Ok(())
        });
        imported.rejected += repeated;
        // The first of each is present, or was found: so are those that repeat it.
        let of_present = repeated.min(imported.present);
        imported.present -= of_present;
        imported.found -= repeated - of_present;
        match (told, first) {
            (Err(error), _) => Err((ImportError::Unwritable(error), imported)),
            (Ok(()), Some(row)) if self.on_error == OnError::Stop => {
                Err((ImportError::Rejected(row), imported))
            }
            (Ok(()), _) => Ok(imported),
        }
    }
}

impl From<Error<LoadError>> for ImportError {
    fn from(error: Error<LoadError>) -> Self {
        match error {
            Error::Body(LoadError::Rejected(mut rows)) if !rows.is_empty() => {
                Self::Rejected(rows.swap_remove(0))
            }
            Error::Body(LoadError::Unwritable(error)) => Self::Unwritable(error),
            error => Self::Load(Box::new(error)),
        }
    }
}
