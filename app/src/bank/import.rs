//! Adding the rows of a file, in chunks that are each applied once: COPY where the server has it and nothing is in its
//! way, arrays otherwise.
//!
//! COPY is one statement of the chunk's transaction like any other: the chunk is in memory, so it can be sent again.
//! It takes all rows or none, so where it meets a row that is there already, or another error of a row, the next
//! attempt of that chunk looks first and then inserts what is missing.
//!
//! A row that is there with the same opening balance (the same accounts and amount, for a transfer) is present, and not
//! added again; one that is there with another is rejected, and so is one whose key stood on an earlier line.

mod conflict;
mod parse;
pub(crate) mod record;
mod seen;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufRead};
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};

use database::Server;
use futures_util::stream::{self, Stream};
use sea_orm::DbErr;
use tokio::sync::mpsc::Receiver;
use transaction::{Class, Error, Tx};

use super::Bank;
use super::bulk::Table;
use super::csv::Reader;
use super::load::{Chunk, Load, LoadError, Loaded, Loading, Rejected, Stopped, load};
use conflict::{Compared, Standing};
use parse::{Found, Header, Kind, parse, read_header};
use record::{Account, Record, Transfer};
use seen::Seen;

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
                .expect("reading does not panic")
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
        let seen = Seen::new().map_err(|error| (ImportError::Unwritable(error), Imported::default()))?;
        let import = Import {
            table: R::table(header.fields),
            on_error,
            in_the_way: AtomicBool::new(false),
            seen: RefCell::new(seen),
            teller: RefCell::new(Teller { reject, rejected: 0 }),
            ended: RefCell::new(None),
        };
        let chunk = loading.chunk;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        std::thread::spawn(move || parse::<R, _>(reader, header.fields, chunk, &sender));
        let rows = (&import, PhantomData::<R>);
        let sum = |loaded: &Loaded<Placed>| progress(&import.teller.borrow().sum(loaded));
        let loaded = load(&self.runner, &rows, loading, import.chunks(receiver), sum).await;
        import.conclude::<R>(loaded, loading.stop.is_cancelled())
    }
}

/// What came of the rows of chunks that are in place.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    present: u64,
    /// Rows left out; of chunks that an earlier call had put in place, those too.
    rejected: u64,
    rejected_before: u64,
    /// Those that are not told yet.
    to_tell: Vec<Rejected>,
}

impl AddAssign for Placed {
    fn add_assign(&mut self, part: Self) {
        self.present += part.present;
        self.rejected += part.rejected;
        self.rejected_before += part.rejected_before;
        self.to_tell.extend(part.to_tell);
    }
}

/// An import on its way.
struct Import<F> {
    table: Table,
    on_error: OnError,
    /// Whether COPY has met a row that it cannot add, and no chunk since has gone without.
    in_the_way: AtomicBool,
    seen: RefCell<Seen>,
    teller: RefCell<Teller<F>>,
    /// Why no more rows come, where that is not the file's end.
    ended: RefCell<Option<ImportError>>,
}

/// Tells, and counts what it tells.
struct Teller<F> {
    reject: F,
    rejected: u64,
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Teller<F> {
    fn reject(&mut self, row: &Rejected) -> io::Result<()> {
        self.rejected += 1;
        (self.reject)(row)
    }

    fn sum(&self, loaded: &Loaded<Placed>) -> Imported {
        let Placed { present, rejected, rejected_before, .. } = loaded.done;
        Imported {
            rows: loaded.rows - present - rejected,
            found: loaded.found - rejected_before,
            present,
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
        if R::BY_COPY && tx.server() != Server::Sqlite && !import.in_the_way.load(Ordering::Relaxed) {
            return import.copy(tx, rows).await;
        }
        let (new, placed) = import.sort_out(tx, rows).await?;
        let missing = new.len() as u64;
        if missing > 0 {
            let added = import.table.insert(tx, R::cells(&import.table, &new)).await?;
            if added != missing {
                // Another transaction was quicker, and the server let this one go on nevertheless.
                return Err(
                    DbErr::Custom(format!("{added} rows were added of {missing} that were missing")).into()
                );
            }
        }
        import.in_the_way.store(placed.present + placed.rejected > 0, Ordering::Relaxed);
        Ok(placed)
    }

    async fn look(&self, tx: &Tx, rows: &[R]) -> Result<Placed, LoadError> {
        let (_, placed) = self.0.sort_out(tx, rows).await?;
        // What is equal to the file's is what was put in place.
        Ok(Placed { present: 0, rejected: 0, rejected_before: placed.rejected, to_tell: placed.to_tell })
    }

    fn in_place(&self, rows: &[R], done: &mut Placed) -> Result<(), LoadError> {
        let import = self.0;
        let left_out = std::mem::take(&mut done.to_tell);
        for row in &left_out {
            import.teller.borrow_mut().reject(row).map_err(LoadError::Unwritable)?;
        }
        let left_out: HashSet<u64> = left_out.into_iter().map(|row| row.line).collect();
        let mut seen = import.seen.borrow_mut();
        for row in rows.iter().filter(|row| !left_out.contains(&row.line())) {
            seen.add(row.key(), row.line()).map_err(LoadError::Unwritable)?;
        }
        Ok(())
    }
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Import<F> {
    async fn copy<R: Record>(&self, tx: &Tx, rows: &[R]) -> Result<Placed, LoadError> {
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
        Ok(Placed::default())
    }

    /// The rows that are not there, and what is to be said of the others.
    async fn sort_out<'a, R: Compared>(
        &self,
        tx: &Tx,
        rows: &'a [R],
    ) -> Result<(Vec<&'a R>, Placed), LoadError> {
        let mut placed = Placed::default();
        let mut new = Vec::new();
        for (row, standing) in rows.iter().zip(R::standings(tx, rows).await?) {
            match standing {
                Standing::New => new.push(row),
                Standing::Present => placed.present += 1,
                Standing::Refused(reason) => {
                    let mut text = Vec::new();
                    row.write(',', &mut text);
                    text.pop();
                    placed.to_tell.push(Rejected { line: row.line(), reason, row: text });
                }
            }
        }
        placed.rejected = placed.to_tell.len() as u64;
        if placed.rejected > 0 && self.on_error == OnError::Stop {
            return Err(LoadError::Rejected(placed.to_tell));
        }
        Ok((new, placed))
    }

    /// The chunks that the reading thread finds.
    fn chunks<R: Record>(&self, found: Receiver<Found<R>>) -> impl Stream<Item = Chunk<R>> {
        stream::unfold(found, async |mut found| {
            loop {
                let why = match found.recv().await? {
                    Found::Chunk(chunk) => return Some((chunk, found)),
                    Found::Broken(error) => ImportError::Unreadable(error),
                    Found::Rejected(row) if self.on_error == OnError::Stop => ImportError::Rejected(row),
                    Found::Rejected(row) => match self.teller.borrow_mut().reject(&row) {
                        Ok(()) => continue,
                        Err(error) => ImportError::Unwritable(error),
                    },
                };
                *self.ended.borrow_mut() = Some(why);
                return None;
            }
        })
    }

    fn conclude<R: Record>(
        self,
        loaded: Result<Loaded<Placed>, Stopped<Placed>>,
        interrupted: bool,
    ) -> Result<Imported, (ImportError, Imported)> {
        let mut teller = self.teller.into_inner();
        let (loaded, ended) = match loaded {
            Ok(loaded) => (loaded, self.ended.into_inner()),
            Err((error, loaded)) => (loaded, Some(error.into())),
        };
        let mut imported = teller.sum(&loaded);
        if let Some(error) = ended {
            // In this way to end there is one that nobody was told of.
            imported.rejected += u64::from(matches!(error, ImportError::Rejected(_)));
            return Err((error, imported));
        }
        // Where every row was new none repeats another, and an interrupted run has more to come.
        if interrupted || imported.present + imported.found == 0 {
            return Ok(imported);
        }
        let mut first: Option<Rejected> = None;
        let told = self.seen.into_inner().repeated(|row| {
            let name = R::key_text(row.key);
            let row = Rejected {
                line: row.line,
                reason: format!("{} {name} stands on line {} already", R::NAME, row.first_line),
                row: name.into_bytes(),
            };
            teller.reject(&row)?;
            if first.as_ref().is_none_or(|first| first.line > row.line) {
                first = Some(row);
            }
            Ok(())
        });
        let repeated = teller.rejected - imported.rejected;
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
