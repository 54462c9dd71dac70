//! The keys of applied rows, in temporary files, to find repeated keys in constant memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};

/// Few enough to be open at once, enough for one to fit in memory.
const PARTS: usize = 128;

const ENTRY: usize = 16 + 8;

const BUFFER: usize = 4096;

/// The keys so far. The files are deleted on drop.
pub(crate) struct Seen {
    parts: Vec<BufWriter<File>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    pub(crate) key: u128,
    pub(crate) line: u64,
    pub(crate) first_line: u64,
}

impl Seen {
    pub(crate) fn new() -> io::Result<Self> {
        // Fails first, because the error of a temporary file would name the file.
        std::fs::metadata(std::env::temp_dir())?;
        let file = || tempfile::tempfile().map_err(|error| io::Error::from(error.kind()));
        let part = |_| Ok(BufWriter::with_capacity(BUFFER, file()?));
        Ok(Self { parts: (0..PARTS).map(part).collect::<io::Result<_>>()? })
    }

    pub(crate) fn add(&mut self, key: u128, line: u64) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry[..16].copy_from_slice(&key.to_le_bytes());
        entry[16..].copy_from_slice(&line.to_le_bytes());
        self.parts[part_of(key)].write_all(&entry)
    }

    /// Calls `found` for each repetition, in no order.
    pub(crate) fn repeated(self, mut found: impl FnMut(Repeated) -> io::Result<()>) -> io::Result<()> {
        for part in self.parts {
            let mut file = part.into_inner()?;
            file.rewind()?;
            let mut rows = entries(BufReader::new(file))?;
            rows.sort_unstable();
            for same in rows.chunk_by(|a, b| a.0 == b.0) {
                for (key, line) in &same[1..] {
                    found(Repeated { key: *key, line: *line, first_line: same[0].1 })?;
                }
            }
        }
        Ok(())
    }
}

/// Spreads consecutive numbers.
fn part_of(key: u128) -> usize {
    // Fibonacci hashing: Knuth, The Art of Computer Programming 3, 6.4.
    let folded = (key as u64) ^ ((key >> 64) as u64);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PARTS
}

fn entries(mut file: impl Read) -> io::Result<Vec<(u128, u64)>> {
    let mut rows = Vec::new();
    let mut entry = [0; ENTRY];
    loop {
        match file.read_exact(&mut entry) {
            Ok(()) => {
                let (key, line) = entry.split_at(16);
                rows.push((
                    u128::from_le_bytes(key.try_into().expect("16 bytes")),
                    u64::from_le_bytes(line.try_into().expect("8 bytes")),
                ));
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(rows),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_that_repeats_another_is_found_once(keys in prop::collection::vec(0_u128..50, 0..200)) {
            let mut seen = Seen::new().expect("files can be made");
            let mut first = BTreeMap::new();
            let mut expected = BTreeMap::new();
            for (line, key) in (1..).zip(&keys) {
                seen.add(*key << 60, line).expect("it can be kept");
                let first_line = *first.entry(*key).or_insert(line);
                if first_line != line {
                    expected.insert(line, (*key << 60, first_line));
                }
            }
            let mut found = BTreeMap::new();
            seen.repeated(|row| {
                let twice = found.insert(row.line, (row.key, row.first_line));
                assert!(twice.is_none(), "{row:?}");
                Ok(())
            })
            .expect("they can be read");
            prop_assert_eq!(found, expected);
        }
    }
}
