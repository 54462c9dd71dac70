//! The rows of a file on their way to a load: read by a thread of their own, told where they are left out, and counted.
//!
//! What a row is, and what its load does with it, is said by a `Parse` and a `Load`.

pub(crate) mod first_line;
pub(crate) mod parse;

use std::io::{self, BufRead};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, Stream};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::csv::Reader;
use super::load::{Chunk, LoadError, Loaded, Loading, Rejected, Stopped};
use crate::bank::Error;
use parse::{Found, Parse, parse};

/// What to do about a row that cannot be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Begin no further chunk.
    #[default]
    Stop,
    /// Leave it out.
    Skip,
}

/// Why the load of a file ended early. The chunks before stay.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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

impl From<Error<LoadError>> for FileError {
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

/// Reads a file's header by `read`, on a thread for what blocks; `None` where it was stopped meanwhile.
pub(crate) async fn header<I: BufRead + Send + 'static, H: Send + 'static>(
    input: I,
    stop: &CancellationToken,
    read: fn(&mut Reader<I>) -> Result<H, String>,
) -> Result<Option<(H, Reader<I>)>, FileError> {
    let header = tokio::task::spawn_blocking(move || {
        let mut reader = Reader::new(input);
        read(&mut reader).map(|header| (header, reader))
    });
    tokio::select! {
        header = header => header
            .map_err(|panicked| FileError::Unreadable(panicked.into()))?
            .map_err(FileError::Header)
            .map(Some),
        () = stop.cancelled() => Ok(None),
    }
}

/// What the chunks of a file have in common.
pub(crate) struct Rows<F> {
    pub(crate) on_error: OnError,
    state: Mutex<State<F>>,
}

struct State<F> {
    reject: F,
    /// How many rows were told to that.
    rejected: u64,
    /// Why no more rows come, where that is not the file's end.
    ended: Option<FileError>,
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Rows<F> {
    pub(crate) fn new(on_error: OnError, reject: F) -> Self {
        Self { on_error, state: Mutex::new(State { reject, rejected: 0, ended: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a row that is left out.
    pub(crate) fn reject(&self, row: &Rejected) -> io::Result<()> {
        let mut state = self.state();
        state.rejected += 1;
        (state.reject)(row)
    }

    /// How many were left out so far.
    pub(crate) fn rejected(&self) -> u64 {
        self.state().rejected
    }

    /// The chunks of a file, which a thread of its own reads.
    pub(crate) fn chunks<P: Parse, I: BufRead + Send + 'static>(
        &self,
        reader: Reader<I>,
        rows: P,
        loading: &Loading,
    ) -> impl Stream<Item = Chunk<P::Row>> {
        let size = loading.chunk;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        std::thread::spawn(move || parse(reader, rows, size, &sender));
        stream::unfold(receiver, async |mut found| Some((self.next(&mut found).await?, found)))
    }

    async fn next<R>(&self, found: &mut Receiver<Found<R>>) -> Option<Chunk<R>> {
        let stopped = || Found::Broken(io::Error::other("its reader stopped"));
        let why = loop {
            match found.recv().await.unwrap_or_else(stopped) {
                Found::Chunk(chunk) => return Some(chunk),
                Found::End => return None,
                Found::Broken(error) => break FileError::Unreadable(error),
                Found::Rejected(row) if self.on_error == OnError::Stop => break FileError::Rejected(row),
                Found::Rejected(row) => match self.reject(&row) {
                    Ok(()) => {}
                    Err(error) => break FileError::Unwritable(error),
                },
            }
        };
        self.state().ended = Some(why);
        None
    }

    /// How it ended: what is in place, and why that is not all of the file, where it is not.
    pub(crate) fn conclude<D>(
        &self,
        loaded: Result<Loaded<D>, Stopped<D>>,
    ) -> (Loaded<D>, Option<FileError>) {
        let mut state = self.state();
        let (loaded, ended) = match loaded {
            Ok(loaded) => (loaded, state.ended.take()),
            Err((error, loaded)) => (loaded, Some(error.into())),
        };
        // In this way to end there is one that nobody was told of.
        state.rejected += u64::from(matches!(ended, Some(FileError::Rejected(_))));
        (loaded, ended)
    }
}
