//! CSV: a header, then a row on each line.
//!
//! No value contains a line break. So an open quote spoils only its own line, and memory does not
//! grow with a line's length.
//!
//! A truncated file is never read as smaller amounts: a quote has to be closed, and a last line
//! that ends in a digit has to end in a line break.

use std::fmt;
use std::io::{self, BufRead, Read};

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};

/// The longest line, in bytes.
pub const LINE_MAX: usize = 4096;

const FIELDS_MAX: usize = 16;

const SHOWN_MAX: usize = 40;

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes, at most [`LINE_MAX`], without the line break.
    pub bytes: &'a [u8],
    /// Its fields, or why it has none.
    pub fields: Result<Fields<'a>, Unreadable>,
}

/// The fields of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    text: &'a str,
    ends: &'a [usize],
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is too long.
    #[error("the line has {0} bytes, and no row has more than {LINE_MAX}")]
    TooLong(u64),
    /// It has too many fields.
    #[error("the line has more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// It is not text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A quote is not closed.
    #[error(
        "a quote is not closed, and the number of fields is {0} up to the end of the line: it may be truncated"
    )]
    OpenQuote(usize),
    /// It is the last line, and its last value may have lost digits.
    #[error("the last line does not end: the file may be truncated; if it is complete, add a line break")]
    CutOff,
}

impl<'a> Fields<'a> {
    /// The number of fields, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// A field without surrounding spaces; empty if it does not exist.
    #[must_use]
    pub fn get(&self, n: usize) -> &'a str {
        let start = if n == 0 { 0 } else { self.ends.get(n - 1).copied().unwrap_or(self.text.len()) };
        let end = self.ends.get(n).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim()
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        (0..self.count()).map(|n| self.get(n))
    }
}

/// Reads lines.
pub struct Reader<R> {
    input: R,
    parser: csv_core::Reader,
    number: u64,
    line: Vec<u8>,
    text: Vec<u8>,
    ends: [usize; FIELDS_MAX],
}

impl<R: BufRead> Reader<R> {
    /// Reads a file from its start.
    pub fn new(input: R) -> Self {
        Self {
            input,
            // A carriage return inside a line belongs to a value.
            parser: ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build(),
            number: 0,
            line: Vec::new(),
            text: vec![0; LINE_MAX + 1],
            ends: [0; FIELDS_MAX],
        }
    }

    /// The next line that is not empty.
    ///
    /// # Errors
    ///
    /// Those of the input.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            self.number += 1;
            let limit = LINE_MAX as u64 + 2;
            let mut length = (&mut self.input).take(limit).read_until(b'\n', &mut self.line)? as u64;
            if length == 0 {
                return Ok(None);
            }
            if length == limit && self.line.last() != Some(&b'\n') {
                length += self.input.skip_until(b'\n')? as u64;
            }
            if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            let ends = self.line.last() == Some(&b'\n');
            let ending = self.line.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if length > limit || self.line.len() - ending > LINE_MAX {
                self.line.truncate(LINE_MAX);
                return Ok(Some(Line {
                    number: self.number,
                    bytes: &self.line,
                    fields: Err(Unreadable::TooLong(length)),
                }));
            }
            self.line.truncate(self.line.len() - ending);
            if self.line.is_empty() {
                continue;
            }
            let cut_off = !ends && self.number > 1 && self.line.last().is_some_and(u8::is_ascii_digit);
            let fields = split(&mut self.parser, &self.line, &mut self.text, &mut self.ends).and_then(
                |(length, fields)| {
                    if cut_off {
                        return Err(Unreadable::CutOff);
                    }
                    let text = std::str::from_utf8(&self.text[..length]).map_err(|_| Unreadable::NotUtf8)?;
                    Ok(Fields { text, ends: &self.ends[..fields] })
                },
            );
            return Ok(Some(Line { number: self.number, bytes: &self.line, fields }));
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Writes a line's fields one behind the other. Returns their total length and their number.
fn split(
    parser: &mut csv_core::Reader,
    line: &[u8],
    text: &mut [u8],
    ends: &mut [usize],
) -> Result<(usize, usize), Unreadable> {
    parser.reset();
    // At the start of a file the parser would drop a byte order mark.
    parser.read_record(b"\n", text, ends);
    let (mut read, mut length, mut fields) = (0, 0, 0);
    loop {
        // A line break ends the record, unless a quote is open.
        let last = read == line.len();
        let rest = if last { b"\n" } else { &line[read..] };
        let (result, input, output, ended) =
            parser.read_record(rest, &mut text[length..], &mut ends[fields..]);
        read += input;
        length += output;
        fields += ended;
        match result {
            ReadRecordResult::InputEmpty if last => return Err(Unreadable::OpenQuote(fields + 1)),
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => return Ok((length, fields)),
            ReadRecordResult::OutputEndsFull => return Err(Unreadable::TooManyFields),
            ReadRecordResult::OutputFull => return Err(Unreadable::TooLong(line.len() as u64)),
        }
    }
}

/// A value in a message, cut short.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(SHOWN_MAX).map_or(self.0.len(), |(end, _)| end);
        let rest = if end < self.0.len() { "…" } else { "" };
        write!(f, "`{}{rest}`", self.0[..end].escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<Vec<String>, Unreadable>)> {
        let mut reader = Reader::new(text);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().expect("memory can be read") {
            let fields = line.fields.map(|fields| fields.iter().map(str::to_owned).collect());
            lines.push((line.number, fields));
        }
        lines
    }

    proptest! {
        /// What the crate `csv` writes is read back, unless a value contains a line break.
        #[test]
        fn what_is_written_is_read(
            rows in prop::collection::vec(prop::collection::vec("[^\r\n]{0,20}", 1..FIELDS_MAX), 0..20),
            always_quoted: bool,
            with_carriage_returns: bool,
        ) {
            let style = if always_quoted { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let end = if with_carriage_returns { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer =
                csv::WriterBuilder::new().flexible(true).quote_style(style).terminator(end).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("it can be written");
            }
            let text = writer.into_inner().expect("it can be written");
            let written = rows.iter().map(|row| Ok(row.iter().map(|field| field.trim().to_owned()).collect()));
            let expected: Vec<_> = (1..).zip(written).collect();
            prop_assume!(!text.starts_with(BYTE_ORDER_MARK));
            prop_assert_eq!(read(&text), expected);
        }

        /// Every line is reported once, by its number.
        #[test]
        fn every_line_is_told(text in prop::collection::vec(prop::sample::select(b"1,\"\n\r\xff7 ".to_vec()), 0..400)) {
            let told: Vec<u64> = read(&text).into_iter().map(|(number, _)| number).collect();
            let there: Vec<u64> = (1..)
                .zip(text.split(|byte| *byte == b'\n'))
                .filter(|(_, line)| line.iter().any(|byte| *byte != b'\r'))
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(told, there);
        }
    }

    #[test]
    fn an_open_quote_spoils_its_own_line_only() {
        let lines = read(b"id,balance\n1,\"50\n2,60\n\"3,70\n4,\"8\"\"0\n");
        let open = |fields| Err(Unreadable::OpenQuote(fields));
        let row = |fields: [&str; 2]| Ok(fields.map(str::to_owned).to_vec());
        let expected =
            [(1, row(["id", "balance"])), (2, open(2)), (3, row(["2", "60"])), (4, open(1)), (5, open(2))];
        assert_eq!(lines, expected);
        assert_eq!(read(b"id,balance\n1,\"50\"")[1].1, row(["1", "50"]), "a closed quote ends its value");
        assert_eq!(read(b"id,balance\n1,50")[1].1, Err(Unreadable::CutOff));
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be_and_no_longer() {
        for (length, fits) in
            [(LINE_MAX, true), (LINE_MAX + 1, false), (LINE_MAX + 2, false), (3 * LINE_MAX, false)]
        {
            for end in ["", "\n", "\r\n"] {
                let text = "x".repeat(length) + end;
                let lines = read((text.clone() + if end.is_empty() { "" } else { "x" }).as_bytes());
                assert_eq!(lines[0].1.is_ok(), fits, "{length} and {end:?}");
                assert_eq!(lines.len(), if end.is_empty() { 1 } else { 2 });
            }
        }
    }
}
