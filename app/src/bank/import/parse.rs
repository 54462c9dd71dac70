//! From a file to chunks of rows, on a thread of its own: reading a file blocks.

use std::collections::HashMap;
use std::io::BufRead;
use std::num::NonZero;

use tokio::sync::mpsc::Sender;

use crate::bank::csv::{Fields, Line, Reader, Shown};
use crate::bank::load::{Chunk, Rejected};
use crate::bank::record::{Account, Record, Transfer, fields_of};

/// What is found in a file.
pub(crate) enum Found<R> {
    /// Rows, as many as a chunk has; fewer in the last one.
    Chunk(Chunk<R>),
    /// A line that is no row.
    Rejected(Rejected),
    /// The file cannot be read further.
    Broken(std::io::Error),
    /// That was all.
    End,
}

/// What a header says of the rows after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many fields each has.
    pub(crate) fields: usize,
    /// What they are.
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accounts,
    Transfers,
}

/// What headers there are.
const KNOWN: &str = "the first line has to be a header: id,balance[,opening_balance[,created_at]] for accounts, \
    id,source_id,target_id,amount[,created_at] for transfers";

/// Reads the first line.
pub(crate) fn read_header<I: BufRead>(reader: &mut Reader<I>) -> Result<Header, String> {
    let line = reader.next_line().map_err(|error| format!("it cannot be read: {error}"))?;
    let Some(line) = line else { return Err(format!("it is empty: {KNOWN}")) };
    if let Some(reason) = no_csv(line.bytes) {
        return Err(reason.to_owned());
    }
    let fields = line.fields.map_err(|error| format!("{error}: {KNOWN}"))?;
    let header = |fields, kind| Header { fields, kind };
    fields_of::<Account>(&fields)
        .map(|count| header(count, Kind::Accounts))
        .or_else(|| fields_of::<Transfer>(&fields).map(|count| header(count, Kind::Transfers)))
        .ok_or_else(|| {
            let text = fields.iter().collect::<Vec<_>>().join(",");
            match separator(&fields) {
                Some(name) => format!("its separator is {name}: write it with commas"),
                None => format!("its first line is {}: {KNOWN}", Shown(&text)),
            }
        })
}

/// What a file is that is no CSV, by how it begins.
fn no_csv(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "it is gzipped: unpack it, or give it a name that ends in .gz"),
        (b"PK\x03\x04", "it is a ZIP archive, as spreadsheets are: save it as CSV"),
        (b"\xff\xfe", UTF_16),
        (b"\xfe\xff", UTF_16),
    ];
    const UTF_16: &str = "it is UTF-16: save it as UTF-8";
    let kind = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind);
    if kind.is_none() && bytes.contains(&b'\r') {
        return Some("its lines end in a carriage return alone: save it with line breaks");
    }
    // Without its mark every other byte of what is no letter of a foreign script is zero.
    kind.or(bytes.contains(&0).then_some(UTF_16))
}

/// What a header is written with that would be known with commas.
fn separator(fields: &Fields<'_>) -> Option<&'static str> {
    let [text] = fields.iter().collect::<Vec<_>>()[..] else { return None };
    [(';', ";"), ('\t', "a tab"), ('|', "|")].into_iter().find_map(|(separator, name)| {
        let mut names = text.split(separator).map(|name| name.trim().trim_matches('"'));
        (names.next()?.eq_ignore_ascii_case("id") && names.next().is_some()).then_some(name)
    })
}

/// Whether a row is one that a spreadsheet has left empty.
fn is_empty(line: &Line<'_>) -> bool {
    line.bytes.iter().all(|byte| b", \t".contains(byte))
        || line.fields.is_ok_and(|fields| fields.iter().all(str::is_empty))
}

/// Reads the rows after the header and sends what is found, until the file ends or nobody listens.
pub(crate) fn parse<R: Record, I: BufRead>(
    mut reader: Reader<I>,
    fields: usize,
    size: NonZero<usize>,
    found: &Sender<Found<R>>,
) {
    let mut gathering = Gathering { rows: Vec::new(), lines: HashMap::new(), number: 0 };
    loop {
        let next = match reader.next_line() {
            Ok(None) => break,
            Ok(Some(line)) if is_empty(&line) => None,
            Ok(Some(line)) => match gathering.take(&line, fields) {
                Err(reason) => {
                    Some(Found::Rejected(Rejected { line: line.number, reason, row: line.bytes.to_vec() }))
                }
                Ok(()) if gathering.rows.len() == size.get() => Some(Found::Chunk(gathering.chunk())),
                Ok(()) => None,
            },
            Err(error) => {
                let _ = found.blocking_send(Found::Broken(error));
                return;
            }
        };
        if let Some(next) = next
            && found.blocking_send(next).is_err()
        {
            return;
        }
    }
    // Where nobody listens, nobody misses them.
    if !gathering.rows.is_empty() {
        let _ = found.blocking_send(Found::Chunk(gathering.chunk()));
    }
    let _ = found.blocking_send(Found::End);
}

/// A chunk that is not yet full.
struct Gathering<R> {
    rows: Vec<R>,
    /// Where the chunk's keys stood.
    lines: HashMap<u128, u64>,
    number: u64,
}

impl<R: Record> Gathering<R> {
    fn take(&mut self, line: &Line<'_>, expected: usize) -> Result<(), String> {
        let fields: Fields<'_> = line.fields.map_err(|error| error.to_string())?;
        if fields.count() != expected {
            return Err(format!("the number of fields is {}, and the header's {expected}", fields.count()));
        }
        let row = R::parse(line.number, &fields)?;
        if let Some(first) = self.lines.get(&row.key()) {
            return Err(format!("{} stands on line {first} already", row.name()));
        }
        self.lines.insert(row.key(), line.number);
        self.rows.push(row);
        Ok(())
    }

    fn chunk(&mut self) -> Chunk<R> {
        let mut text = Vec::new();
        for row in &self.rows {
            row.write('\t', &mut text);
        }
        let chunk = Chunk::of_content(self.number, &text, std::mem::take(&mut self.rows));
        self.number += 1;
        self.lines.clear();
        chunk
    }
}
