//! From a file to chunks of rows, on a thread of its own: reading a file blocks.

use std::io::BufRead;
use std::num::NonZero;

use tokio::sync::mpsc::Sender;

use crate::bank::csv::{Fields, Line, Reader};
use crate::bank::load::{Chunk, Rejected};

/// Makes rows of lines.
pub(crate) trait Parse: Send + 'static {
    /// A row.
    type Row: Send + 'static;

    /// How many fields each line has.
    fn fields(&self) -> usize;

    /// The row of a line; the reason why it is none is one line.
    fn row(&mut self, line: u64, fields: &Fields<'_>) -> Result<Self::Row, String>;

    /// Adds what tells a row from every other to the text that its chunk's name is made of.
    fn write(&self, row: &Self::Row, text: &mut Vec<u8>);

    /// A chunk ends after the row made last.
    fn chunk_ended(&mut self) {}
}

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

/// Reads the rows after the header and sends what is found, until the file ends or nobody listens.
pub(crate) fn parse<P: Parse, I: BufRead>(
    mut reader: Reader<I>,
    parse: P,
    size: NonZero<usize>,
    found: &Sender<Found<P::Row>>,
) {
    let mut gathering = Gathering { rows: Vec::new(), parse, number: 0 };
    loop {
        let next = match reader.next_line() {
            Ok(None) => break,
            Ok(Some(line)) if is_empty(&line) => None,
            Ok(Some(line)) => match gathering.take(&line) {
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

/// Whether a row is one that a spreadsheet has left empty.
fn is_empty(line: &Line<'_>) -> bool {
    line.bytes.iter().all(|byte| b", \t".contains(byte))
        || line.fields.is_ok_and(|fields| fields.iter().all(str::is_empty))
}

/// A chunk that is not yet full.
struct Gathering<P: Parse> {
    rows: Vec<P::Row>,
    parse: P,
    number: u64,
}

impl<P: Parse> Gathering<P> {
    fn take(&mut self, line: &Line<'_>) -> Result<(), String> {
        let fields: Fields<'_> = line.fields.map_err(|error| error.to_string())?;
        let expected = self.parse.fields();
        if fields.count() != expected {
            return Err(format!("the number of fields is {}, and the header's {expected}", fields.count()));
        }
        let row = self.parse.row(line.number, &fields)?;
        self.rows.push(row);
        Ok(())
    }

    fn chunk(&mut self) -> Chunk<P::Row> {
        let mut text = Vec::new();
        for row in &self.rows {
            self.parse.write(row, &mut text);
        }
        let chunk = Chunk::of_content(self.number, &text, std::mem::take(&mut self.rows));
        self.number += 1;
        self.parse.chunk_ended();
        chunk
    }
}
