//! The header of an import, and parsing the rows after it.

use std::collections::HashMap;
use std::io::BufRead;
use std::marker::PhantomData;

use crate::bank::csv::{Fields, Reader};
use crate::bank::file::first_line;
use crate::bank::file::parse::Parse;
use crate::bank::record::{Account, Record, Transfer, fields_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fields: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accounts,
    Transfers,
}

const KNOWN: &str = "the first line has to be a header: id,balance[,opening_balance[,created_at]] for accounts, \
    id,source_id,target_id,amount[,created_at] for transfers";

pub(crate) fn read_header<I: BufRead>(reader: &mut Reader<I>) -> Result<Header, String> {
    let fields = first_line::read(reader, KNOWN)?;
    let header = |fields, kind| Header { fields, kind };
    fields_of::<Account>(&fields)
        .map(|count| header(count, Kind::Accounts))
        .or_else(|| fields_of::<Transfer>(&fields).map(|count| header(count, Kind::Transfers)))
        .ok_or_else(|| first_line::not_known(&fields, &["id"], KNOWN))
}

/// Parses rows of one kind. Keys are unique within a chunk.
pub(crate) struct Records<R> {
    fields: usize,
    /// The line of each key in the chunk.
    lines: HashMap<u128, u64>,
    kind: PhantomData<fn() -> R>,
}

impl<R> Records<R> {
    pub(crate) fn of(header: Header) -> Self {
        Self { fields: header.fields, lines: HashMap::new(), kind: PhantomData }
    }
}

impl<R: Record> Parse for Records<R> {
    type Row = R;

    fn fields(&self) -> usize {
        self.fields
    }

    fn row(&mut self, line: u64, fields: &Fields<'_>) -> Result<R, String> {
        let row = R::parse(line, fields)?;
        if let Some(first) = self.lines.get(&row.key()) {
            return Err(format!("{} repeats line {first}", row.name()));
        }
        self.lines.insert(row.key(), line);
        Ok(row)
    }

    fn write(&self, row: &R, text: &mut Vec<u8>) {
        row.write('\t', text);
    }

    fn chunk_ended(&mut self) {
        self.lines.clear();
    }
}
