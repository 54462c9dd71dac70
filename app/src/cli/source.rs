//! A file that is read: opened, unpacked, and how far it is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use terminal::Failure;

/// A file to read.
pub(super) struct Source {
    /// Its size in bytes, where it has one.
    size: Option<u64>,
    position: Position,
    reader: Box<dyn BufRead + Send>,
}

/// How many bytes of it were read. Clones tell of the same file.
#[derive(Clone, Default)]
pub(super) struct Position(Arc<AtomicU64>);

impl Position {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let position = Position::default();
        let counted = |input: Box<dyn Read + Send>| Counted { input, position: position.clone() };
        let name = path.display().to_string();
        if name == "-" {
            let reader = Box::new(BufReader::new(counted(Box::new(io::stdin()))));
            return Ok(Self { size: None, position, reader });
        }
        let unreadable = |error: io::Error| Failure::usage(format!("{name} cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if about.is_dir() {
            return Err(Failure::usage(format!("{name} is a folder: give a file of CSV")));
        }
        let input = counted(Box::new(file));
        let reader: Box<dyn BufRead + Send> = if is_gzip(path) {
            Box::new(BufReader::new(MultiGzDecoder::new(input)))
        } else {
            Box::new(BufReader::new(input))
        };
        // A pipe has no size.
        Ok(Self { size: Some(about.len()).filter(|_| about.is_file()), position, reader })
    }

    /// Its size in bytes, where it has one.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// How far it is read, from now on.
    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    /// Its text.
    pub(super) fn into_reader(self) -> impl BufRead + Send + 'static {
        self.reader
    }
}

/// Whether a file is packed, by its name.
pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gz"))
}

/// Counts what is read.
struct Counted {
    input: Box<dyn Read + Send>,
    position: Position,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.position.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
