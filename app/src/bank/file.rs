//! Loads the rows of a file, and reports and counts the rejected ones.

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
use parse::{Parse, Parsed, parse};

/// What to do with a row that cannot be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Begin no further chunk.
    #[default]
    Stop,
    /// Skip it.
    Skip,
}

/// Why a file was not loaded completely. Applied chunks stay.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its header is unknown. Nothing is changed.
    #[error("{0}")]
    Header(String),
    /// The file cannot be read.
    #[error("the file cannot be read further: {0}")]
    Unreadable(io::Error),
    /// A row was rejected under [`OnError::Stop`].
    #[error("line {}: {}", .0.line, .0.reason)]
    Rejected(Rejected),
    /// No temporary file can be created. Nothing is changed.
    #[error("no temporary file can be made in {folder}: {0}", folder = std::env::temp_dir().display())]
    NoTemporary(io::Error),
    /// Rejected rows, or the keys of applied rows, cannot be written.
    #[error("a rejects or temporary file cannot be written: {0}")]
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

/// Reads the header on a blocking thread; `None` if `stop` is cancelled.
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

pub(crate) struct Rows<F> {
    pub(crate) on_error: OnError,
    state: Mutex<State<F>>,
}

struct State<F> {
    reject: F,
    rejected: u64,
    ended: Option<FileError>,
}

impl<F: FnMut(&Rejected) -> io::Result<()>> Rows<F> {
    pub(crate) fn new(on_error: OnError, reject: F) -> Self {
        Self { on_error, state: Mutex::new(State { reject, rejected: 0, ended: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reject(&self, row: &Rejected) -> io::Result<()> {
        let mut state = self.state();
        state.rejected += 1;
        (state.reject)(row)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.state().rejected
    }

    /// The chunks of a file, read on a thread of their own.
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

    async fn next<R>(&self, found: &mut Receiver<Parsed<R>>) -> Option<Chunk<R>> {
        let stopped = || Parsed::Broken(io::Error::other("its reader stopped"));
        let why = loop {
            match found.recv().await.unwrap_or_else(stopped) {
                Parsed::Chunk(chunk) => return Some(chunk),
                Parsed::End => return None,
                Parsed::Broken(error) => break FileError::Unreadable(error),
                Parsed::Rejected(row) if self.on_error == OnError::Stop => break FileError::Rejected(row),
                Parsed::Rejected(row) => match self.reject(&row) {
                    Ok(()) => {}
                    Err(error) => break FileError::Unwritable(error),
                },
            }
        };
        self.state().ended = Some(why);
        None
    }

    pub(crate) fn conclude<D>(
        &self,
        loaded: Result<Loaded<D>, Stopped<D>>,
    ) -> (Loaded<D>, Option<FileError>) {
        let mut state = self.state();
        let (loaded, ended) = match loaded {
            Ok(loaded) => (loaded, state.ended.take()),
            Err((error, loaded)) => (loaded, Some(error.into())),
        };
        // This row was not reported.
        state.rejected += u64::from(matches!(ended, Some(FileError::Rejected(_))));
        (loaded, ended)
    }
}
