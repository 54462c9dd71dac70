//! Bulk loading: rows in, chunks out, each in a transaction of its own and applied once.
//!
//! A chunk has an id that is made of the run's and its own name, and writes it first; so a chunk whose COMMIT's answer was
//! lost is not applied twice, and a run that is told again goes on where it stopped. Several chunks are on their way at
//! once. One that a server says is too large is given up as a whole and becomes its halves.
//!
//! What the rows are, and how they are added, is a `Load`'s to say. What it leaves to others: where the rows come from, and
//! telling how it goes.

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

use super::batch::{Batch, Once, apply_once, halve};
use super::pay::Turn;

/// How a load goes about it.
#[derive(Clone, Debug)]
pub struct Loading {
    /// The run's own id: told again with the same one, it adds only what it has not added yet.
    pub run: Uuid,
    /// How many rows in each transaction.
    pub chunk: NonZero<usize>,
    /// How many transactions at once.
    pub concurrency: NonZero<usize>,
    /// Where this is cancelled no further chunk is begun; those on their way are waited for.
    pub stop: CancellationToken,
}

/// What the rows of a load are.
pub(crate) trait Load {
    /// One of them.
    type Row;
    /// What the rows of a chunk came to.
    type Done: Default + AddAssign;
    /// A word for it: a part of the ids of its chunks.
    const KIND: &'static str;

    /// Waits, before a part's transaction begins, for the turn that it holds until that has ended.
    async fn turn(&self, _rows: &[Self::Row]) -> Option<Turn> {
        None
    }

    /// Adds rows, in the transaction of their part.
    async fn add(&self, tx: &Tx, part: &Part<'_>, rows: &[Self::Row]) -> Result<Self::Done, LoadError>;

    /// Looks at rows that an earlier call has added.
    async fn look(&self, tx: &Tx, part: &Part<'_>, rows: &[Self::Row]) -> Result<Self::Done, LoadError>;

    /// Told of rows whose transaction is committed, and of what it came to, from which it may take what is not to count.
    ///
    /// # Errors
    ///
    /// Any ends the load. The rows stay.
    fn in_place(&self, _rows: &[Self::Row], _part: &mut Loaded<Self::Done>) -> Result<(), LoadError> {
        Ok(())
    }
}

/// A chunk, or a half of one: what is applied in one transaction.
pub(crate) struct Part<'a> {
    /// Its own name in its run, the same whenever the run is told again.
    pub(crate) name: &'a str,
    /// Its row in `batches`.
    pub(crate) id: Uuid,
}

/// The rows of one transaction.
pub(crate) struct Chunk<R> {
    /// Its own name in its run, the same whenever the run is told again.
    pub(crate) name: String,
    /// At least one.
    pub(crate) rows: Vec<R>,
}

impl<R> Chunk<R> {
    /// Names a chunk by its place and its content: the same chunk of a file that was mended elsewhere has the same name, and
    /// another chunk never has.
    pub(crate) fn of_content(place: u64, content: &[u8], rows: Vec<R>) -> Self {
        Self { name: format!("{place}/{}", Uuid::new_v5(&Uuid::nil(), content)), rows }
    }
}

/// Rows in chunks of so many, in their order.
pub(crate) fn chunks<R>(
    mut rows: impl Iterator<Item = R>,
    size: NonZero<usize>,
) -> impl Stream<Item = Chunk<R>> {
    stream::iter((0_u64..).map_while(move |number| {
        let rows: Vec<R> = rows.by_ref().take(size.get()).collect();
        (!rows.is_empty()).then(|| Chunk { name: number.to_string(), rows })
    }))
}

/// What a load came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded<D> {
    /// Rows of chunks that this call has applied.
    pub rows: u64,
    /// Rows of chunks that an earlier call with the same run had applied.
    pub found: u64,
    /// Chunks in place, whoever applied them.
    pub chunks: u64,
    /// What else there is to say of them.
    pub done: D,
}

/// Why a load ended early, and what is in place.
pub type Stopped<D> = (Error<LoadError>, Loaded<D>);

/// Where there is nothing else to say of a load's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl AddAssign for Nothing {
    fn add_assign(&mut self, _: Self) {}
}

/// Why a load ends at a chunk. Nothing of it is applied, but where it says so.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
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
    /// Rows of it cannot be added.
    #[error("{}", .0.first().map_or("a row cannot be added", |row| row.reason.as_str()))]
    Rejected(Vec<Rejected>),
    /// Its rows are in place, and what came of them cannot be written down.
    #[error("a file that is needed on the way cannot be written: {0}")]
    Unwritable(std::io::Error),
    /// The database's error.
    #[error("{}", reason(.0))]
    Database(#[from] DbErr),
}

/// A row that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which: where it stood in its file, the first line being 1.
    pub line: u64,
    /// Why.
    pub reason: String,
    /// As it was given; what cannot be kept of it is left out.
    pub row: Vec<u8>,
}

/// Applies chunks, telling `progress` after each.
///
/// # Errors
///
/// The first that a chunk met, with what is in place: after it no further one is begun.
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
    // SQLite has one writer at a time: a second one would only wait for it.
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

/// Applies one chunk, in halves where it has to be.
pub(crate) async fn apply<L: Load>(
    runner: &Runner,
    load: &L,
    run: Uuid,
    chunk: Chunk<L::Row>,
) -> (Loaded<L::Done>, Result<(), Error<LoadError>>) {
    let mut loaded = Loaded::default();
    let whole = (chunk.name, 0..chunk.rows.len());
    // The next part is the last.
    let mut parts = vec![whole];
    while let Some((name, range)) = parts.pop() {
        let rows = &chunk.rows[range.clone()];
        match apply_part(runner, load, run, &name, rows).await {
            Ok(Some(mut part)) => {
                let told = load.in_place(rows, &mut part);
                loaded += part;
                if let Err(error) = told {
                    return (loaded, Err(Error::Body(error)));
                }
            }
            Ok(None) => parts.extend(halves(&name, range)),
            Err(error) => return (loaded, Err(error)),
        }
    }
    (loaded, Ok(()))
}

/// Applies rows in one transaction; `None` where they are too many for that.
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
            async |tx| load.look(tx, &part, rows).await,
        );
        match applied.await {
            Ok(Once::Applied(done)) => return Ok(Some(Loaded { rows: count, found: 0, chunks: 1, done })),
            Ok(Once::Found(done)) => return Ok(Some(Loaded { rows: 0, found: count, chunks: 1, done })),
            Ok(Once::InHalves) => return Ok(None),
            Err(error) if count > 1 && is_too_large(&error) => {
                tracing::warn!(%id, rows = count, %error, "too large for one transaction: halved");
                if halve(runner, batch).await? {
                    return Ok(None);
                }
                // It had landed as a whole, and so it is found.
            }
            Err(error) => return Err(error),
        }
    }
}

/// The halves of a part, the first one last.
fn halves(name: &str, range: Range<usize>) -> [(String, Range<usize>); 2] {
    let middle = range.start + range.len() / 2;
    [(format!("{name}/2"), middle..range.end), (format!("{name}/1"), range.start..middle)]
}

/// Whether a server says that a transaction is more than it can take.
fn is_too_large<E>(error: &Error<E>) -> bool {
    error.last().is_some_and(|last| {
        // configuration_limit_exceeded, program_limit_exceeded, out_of_memory
        matches!(sqlstate(last).as_deref(), Some("53400" | "54000" | "53200"))
            // The limit of one Raft command has no code of its own: CockroachDB answers XXUUU, as when a node has just died, and only
            // the text tells the two apart (v20.2 and v22.1).
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
