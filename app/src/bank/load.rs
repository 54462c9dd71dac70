//! Bulk loading in idempotent chunks, several at once, each in its own transaction.
//!
//! A chunk writes its id first, which is derived from the run and the chunk's name. So a lost
//! answer to COMMIT applies nothing twice, and a repeated run completes the first one. A chunk that
//! is too large for the server is split.

use std::num::NonZero;
use std::ops::{AddAssign, Range};
use std::pin::pin;

use crate::bank::{Error, Runner};
use database::{Server, reason, sqlstate};
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use sea_orm::DbErr;
use sea_orm_retry::Tx;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::{Batch, Once, SizeChanged, apply_once, halve};
use super::gate::Turn;

/// The parameters of a load.
#[derive(Clone, Debug)]
pub struct Loading {
    /// The run's id. A repeated run adds only what is missing.
    pub run: Uuid,
    /// Rows in a transaction.
    pub chunk: NonZero<usize>,
    /// Transactions at once.
    pub concurrency: NonZero<usize>,
    /// Cancelled to begin no further chunk. Chunks under way complete.
    pub stop: CancellationToken,
}

pub(crate) trait Load {
    type Row;
    /// The result of a chunk's rows.
    type Done: Default + AddAssign;
    /// Its name, a part of the ids of its chunks.
    const KIND: &'static str;

    /// Waits for the turn that a part holds during its transaction.
    async fn turn(&self, _rows: &[Self::Row]) -> Option<Turn> {
        None
    }

    /// Adds rows in their transaction.
    async fn add(&self, tx: &Tx, part: &Part<'_>, rows: &[Self::Row]) -> Result<Self::Done, LoadError>;

    /// Reads the result of rows that an earlier call has added.
    async fn look_up(&self, tx: &Tx, part: &Part<'_>, rows: &[Self::Row]) -> Result<Self::Done, LoadError>;

    /// Called after the commit. May correct the counts.
    ///
    /// # Errors
    ///
    /// Any ends the load. The rows stay.
    fn committed(&self, _rows: &[Self::Row], _part: &mut Loaded<Self::Done>) -> Result<(), LoadError> {
        Ok(())
    }
}

/// What one transaction applies: a chunk, or a half of one.
pub(crate) struct Part<'a> {
    /// Its name in its run, the same whenever the run is repeated.
    pub(crate) name: &'a str,
    /// Its row in `batches`.
    pub(crate) id: Uuid,
}

pub(crate) struct Chunk<R> {
    /// Its name in its run, the same whenever the run is repeated.
    pub(crate) name: String,
    /// At least one.
    pub(crate) rows: Vec<R>,
}

impl<R> Chunk<R> {
    /// Names a chunk by its place and content: an unchanged chunk of a corrected file keeps its
    /// name.
    pub(crate) fn of_content(place: u64, content: &[u8], rows: Vec<R>) -> Self {
        Self { name: format!("{place}/{}", Uuid::new_v5(&Uuid::nil(), content)), rows }
    }
}

pub(crate) fn chunks<R>(
    mut rows: impl Iterator<Item = R>,
    size: NonZero<usize>,
) -> impl Stream<Item = Chunk<R>> {
    stream::iter((0_u64..).map_while(move |number| {
        let rows: Vec<R> = rows.by_ref().take(size.get()).collect();
        (!rows.is_empty()).then(|| Chunk { name: number.to_string(), rows })
    }))
}

/// The result of a load so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded<D> {
    /// Rows applied by this call.
    pub rows: u64,
    /// Rows applied by an earlier call of the run.
    pub found: u64,
    /// Applied chunks, whoever applied them.
    pub chunks: u64,
    /// What the load itself counts.
    pub done: D,
}

/// Why a load ended early, and what is applied.
pub type Stopped<D> = (Error<LoadError>, Loaded<D>);

/// For loads that count nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl AddAssign for Nothing {
    fn add_assign(&mut self, _: Self) {}
}

/// Why a chunk ended the load. It is not applied, unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The run began with another chunk size.
    #[error(transparent)]
    SizeChanged(#[from] SizeChanged),
    /// Rows were rejected.
    #[error("{}", .0.first().map_or("a row cannot be added", |row| row.reason.as_str()))]
    Rejected(Vec<Rejected>),
    /// It is applied, but its result cannot be written to a file.
    #[error("a rejects or temporary file cannot be written: {0}")]
    Unwritable(std::io::Error),
    /// The database's error.
    #[error("{}", reason(.0))]
    Database(#[from] DbErr),
}

/// A rejected row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The reason.
    pub reason: String,
    /// Its text, as far as it was kept.
    pub row: Vec<u8>,
}

/// Applies chunks, and calls `progress` after each.
///
/// # Errors
///
/// The first error of a chunk, after the chunks under way, with what is applied.
pub(crate) async fn load<L: Load>(
    runner: &Runner,
    load: &L,
    loading: &Loading,
    chunks: impl Stream<Item = Chunk<L::Row>>,
    mut progress: impl FnMut(&Loaded<L::Done>),
) -> Result<Loaded<L::Done>, Stopped<L::Done>> {
    let mut chunks = pin!(chunks.take_until(loading.stop.cancelled()));
    let mut applying = FuturesUnordered::new();
    let mut loaded = Loaded::default();
    let mut failed = None;
    let mut more = true;
    // SQLite has one writer at a time.
    let at_once = if runner.server() == Server::Sqlite { 1 } else { loading.concurrency.get() };
    loop {
        tokio::select! {
            Some((part, ended)) = applying.next(), if !applying.is_empty() => {
                loaded += part;
                if let Err(error) = ended {
                    failed.get_or_insert(error);
                    more = false;
                }
                progress(&loaded);
            }
            chunk = chunks.next(), if more && applying.len() < at_once => match chunk {
                Some(chunk) => applying.push(apply(runner, load, loading.run, chunk)),
                None => more = false,
            },
            else => break,
        }
    }
    match failed {
        Some(error) => Err((error, loaded)),
        None => Ok(loaded),
    }
}

pub(crate) async fn apply<L: Load>(
    runner: &Runner,
    load: &L,
    run: Uuid,
    chunk: Chunk<L::Row>,
) -> (Loaded<L::Done>, Result<(), Error<LoadError>>) {
    let mut loaded = Loaded::default();
    let whole = (chunk.name, 0..chunk.rows.len());
    // A stack: the last part is next.
    let mut parts = vec![whole];
    while let Some((name, range)) = parts.pop() {
        let rows = &chunk.rows[range.clone()];
        match apply_part(runner, load, run, &name, rows).await {
            Ok(Some(mut part)) => {
                let after = load.committed(rows, &mut part);
                loaded += part;
                if let Err(error) = after {
                    return (loaded, Err(Error::Body(error)));
                }
            }
            Ok(None) => parts.extend(halves(&name, range)),
            Err(error) => return (loaded, Err(error)),
        }
    }
    (loaded, Ok(()))
}

/// Applies rows in one transaction; `None` if they have to be split.
async fn apply_part<L: Load>(
    runner: &Runner,
    load: &L,
    run: Uuid,
    name: &str,
    rows: &[L::Row],
) -> Result<Option<Loaded<L::Done>>, Error<LoadError>> {
    let count = rows.len() as u64;
    let id = Uuid::new_v5(&run, format!("{}/{name}", L::KIND).as_bytes());
    let (part, batch) = (Part { name, id }, Batch { id, rows: count });
    let _turn = load.turn(rows).await;
    loop {
        let applied = apply_once(
            runner,
            batch,
            async |tx| load.add(tx, &part, rows).await,
            async |tx| load.look_up(tx, &part, rows).await,
        );
        match applied.await {
            Ok(Once::Applied(done)) => return Ok(Some(Loaded { rows: count, found: 0, chunks: 1, done })),
            Ok(Once::Found(done)) => return Ok(Some(Loaded { rows: 0, found: count, chunks: 1, done })),
            Ok(Once::InHalves) => return Ok(None),
            Err(error) if count > 1 && is_too_large(&error) => {
                tracing::warn!(%id, rows = count, %error, "too large for one transaction: split");
                if halve(runner, batch).await? {
                    return Ok(None);
                }
                // It was applied whole meanwhile: the next round finds it.
            }
            Err(error) => return Err(error),
        }
    }
}

fn halves(name: &str, range: Range<usize>) -> [(String, Range<usize>); 2] {
    let middle = range.start + range.len() / 2;
    [(format!("{name}/2"), middle..range.end), (format!("{name}/1"), range.start..middle)]
}

fn is_too_large<E>(error: &Error<E>) -> bool {
    error.last().is_some_and(|last| {
        // configuration_limit_exceeded, program_limit_exceeded, out_of_memory
        matches!(sqlstate(last).as_deref(), Some("53400" | "54000" | "53200"))
            // CockroachDB's limit on a Raft command shares SQLSTATE XXUUU with other errors (v20.2,
            // v22.1).
            || reason(last).contains("command is too large")
    })
}

impl<D: AddAssign> AddAssign for Loaded<D> {
    fn add_assign(&mut self, part: Self) {
        self.rows += part.rows;
        self.found += part.found;
        self.chunks += part.chunks;
        self.done += part.done;
    }
}
