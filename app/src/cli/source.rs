//! An input file: opening, unpacking, position.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use terminal::Failure;

pub(super) struct Source {
    /// In bytes; none for a pipe.
    size: Option<u64>,
    position: Position,
    reader: Box<dyn BufRead + Send>,
}

/// The bytes read so far. Clones share the count.
#[derive(Clone, Default)]
pub(super) struct Position(Arc<AtomicU64>);

impl Position {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Source {
    /// `-` is standard input. Opening a pipe blocks until it has a writer.
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
        let input = BufReader::new(counted(Box::new(file)));
        let reader: Box<dyn BufRead + Send> =
            if is_gzip(path) { Box::new(BufReader::new(Members::new(input))) } else { Box::new(input) };
        Ok(Self { size: Some(about.len()).filter(|_| about.is_file()), position, reader })
    }

    /// In bytes; none for a pipe.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    pub(super) fn into_reader(self) -> impl BufRead + Send + 'static {
        self.reader
    }
}

pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gz"))
}

/// Unpacks the members of a gzip file. As gzip does, it ignores zeros after a member: the padding of
/// tapes and disk blocks.
struct Members<R> {
    /// None after the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(input)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer).map_err(named)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let mut input = self.member.take().expect("one is read").into_inner();
            if !is_at_end(&mut input)? {
                self.member = Some(GzDecoder::new(input));
            }
        }
        Ok(0)
    }
}

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::other("it is not gzipped, or not to its end"),
        _ => error,
    }
}

/// Skips zeros; returns whether the input ends.
fn is_at_end(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (end, all) = (bytes.is_empty(), zeros == bytes.len());
        input.consume(zeros);
        if end || !all {
            return Ok(end);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).expect("it can be written");
        packed.finish().expect("it can be written")
    }

    fn unpacked(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        // A small buffer splits members and padding.
        Members::new(BufReader::with_capacity(7, bytes)).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn zeros_after_a_member_are_padding_and_all_else_is_read_or_refused() {
        let (one, two, zeros) = (packed("one"), packed("two"), vec![0; 10_000]);
        for (bytes, text) in [
            (one.clone(), "one"),
            ([&one[..], &zeros].concat(), "one"),
            ([&one[..], &two, &zeros].concat(), "onetwo"),
            ([&one[..], &[0], &two].concat(), "onetwo"),
            ([&one[..], &packed(""), &two].concat(), "onetwo"),
        ] {
            assert_eq!(unpacked(&bytes).expect("it is whole"), text);
        }
        for bytes in [vec![], zeros.clone(), [&one[..], &zeros, b"x"].concat(), one[..one.len() - 1].to_vec()]
        {
            unpacked(&bytes).expect_err("it is not whole");
        }
    }
}
