//! Parses a file into chunks of rows, on a thread of its own, because reading blocks.

use std::io::BufRead;
use std::num::NonZero;

use tokio::sync::mpsc::Sender;

use crate::bank::csv::{Fields, Line, Reader};
use crate::bank::load::{Chunk, Rejected};

pub(crate) trait Parse: Send + 'static {
    type Row: Send + 'static;

    fn fields(&self) -> usize;

    /// The row of a line, or the reason in one line.
    fn row(&mut self, line: u64, fields: &Fields<'_>) -> Result<Self::Row, String>;

    /// Appends what identifies a row to the content that names its chunk.
    fn write(&self, row: &Self::Row, text: &mut Vec<u8>);

    /// Called after the last row of a chunk.
    fn chunk_ended(&mut self) {}
}

pub(crate) enum Parsed<R> {
    /// Rows: a full chunk, or the last one.
    Chunk(Chunk<R>),
    Rejected(Rejected),
    Broken(std::io::Error),
    End,
}

/// Parses the rows after the header and sends them, until the file ends or the receiver is dropped.
pub(crate) fn parse<P: Parse, I: BufRead>(
    mut reader: Reader<I>,
    parse: P,
    size: NonZero<usize>,
    parsed: &Sender<Parsed<P::Row>>,
) {
    let mut gathering = Gathering { rows: Vec::new(), parse, number: 0 };
    loop {
        let next = match reader.next_line() {
            Ok(None) => break,
            Ok(Some(line)) if is_empty(&line) => None,
            Ok(Some(line)) => match gathering.take(&line) {
                Err(reason) => {
                    Some(Parsed::Rejected(Rejected { line: line.number, reason, row: line.bytes.to_vec() }))
                }
                Ok(()) if gathering.rows.len() == size.get() => Some(Parsed::Chunk(gathering.chunk())),
                Ok(()) => None,
            },
            Err(error) => {
                let _ = parsed.blocking_send(Parsed::Broken(error));
                return;
            }
        };
        if let Some(next) = next
            && parsed.blocking_send(next).is_err()
        {
            return;
        }
    }
    if !gathering.rows.is_empty() {
        let _ = parsed.blocking_send(Parsed::Chunk(gathering.chunk()));
    }
    let _ = parsed.blocking_send(Parsed::End);
}

/// Whether a spreadsheet left the row empty.
fn is_empty(line: &Line<'_>) -> bool {
    line.bytes.iter().all(|byte| b", \t".contains(byte))
        || line.fields.is_ok_and(|fields| fields.iter().all(str::is_empty))
}

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
            return Err(format!("the number of fields is {}, the header's {expected}", fields.count()));
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
