//! Imported and exported rows, as lines of CSV and as rows of a table.

mod account;
mod transfer;

use std::io::Write;

use sea_orm::{DbBackend, Value};
use time::OffsetDateTime;

use super::bulk::Table;
use super::csv::{Fields, Shown};
use super::moment;

pub(crate) use account::Account;
pub(crate) use transfer::Transfer;

pub(crate) trait Record: Sized + Send + 'static {
    const NAME: &'static str;
    /// Its table. A file has the table's columns, in order.
    const TABLE: Table;
    /// The possible numbers of fields. A shorter line lacks the last columns.
    const COUNTS: &'static [usize];

    /// Parses a line, or returns the reason in one line.
    fn parse(line: u64, fields: &Fields<'_>) -> Result<Self, String>;
    /// Its line in the file, from 1.
    fn line(&self) -> u64;
    /// What identifies it.
    fn key(&self) -> u128;
    fn key_text(key: u128) -> String;
    fn name(&self) -> String {
        format!("{} {}", Self::NAME, Self::key_text(self.key()))
    }
    /// The number of columns that a line of so many fields fills.
    fn columns(fields: usize) -> usize;
    fn values(&self, backend: DbBackend) -> Vec<Value>;
    /// Writes it as a line, with tabs for COPY or with commas.
    fn write(&self, separator: char, text: &mut Vec<u8>);
}

/// The number of fields of a header, if it is one of this kind of record.
pub(crate) fn fields_of<R: Record>(header: &Fields<'_>) -> Option<usize> {
    let same =
        header.iter().zip(R::TABLE.columns).all(|(given, column)| given.eq_ignore_ascii_case(column.name()));
    (same && R::COUNTS.contains(&header.count())).then(|| header.count())
}

fn put(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a vector takes whatever is written to it");
}

fn end_with_moment(moment: Option<OffsetDateTime>, separator: char, text: &mut Vec<u8>) {
    if let Some(moment) = moment {
        put(text, format_args!("{separator}{}", moment::rfc3339(moment)));
    }
    text.push(b'\n');
}

pub(crate) fn whole_number(name: &str, text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        match error.kind() {
            PosOverflow => format!("the {name} {} is above {}", Shown(text), i64::MAX),
            NegOverflow => format!("the {name} {} is below {}", Shown(text), i64::MIN),
            _ => format!("the {name} {} is not a whole number", Shown(text)),
        }
    })
}

pub(crate) fn money(name: &str, text: &str, at_least: i64) -> Result<i64, String> {
    let units = whole_number(name, text)?;
    if units >= at_least {
        return Ok(units);
    }
    Err(match units {
        0 => format!("the {name} is zero"),
        _ => format!("the {name} {units} is negative"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::csv::Reader;

    fn rows<R: Record>(text: &[u8]) -> Vec<String> {
        let mut reader = Reader::new(text);
        let header = reader.next_line().expect("memory can be read").and_then(|line| line.fields.ok());
        let columns = header.and_then(|fields| fields_of::<R>(&fields)).expect("a header");
        let mut rows = Vec::new();
        while let Some(line) = reader.next_line().expect("memory can be read") {
            let fields = line.fields.ok().filter(|fields| fields.count() == columns);
            if let Some(row) = fields.and_then(|fields| R::parse(line.number, &fields).ok()) {
                let mut text = Vec::new();
                row.write(',', &mut text);
                rows.push(String::from_utf8(text).expect("it is text"));
            }
        }
        rows
    }

    fn assert_no_other_rows<R: Record>(text: &str) {
        let whole = rows::<R>(text.as_bytes());
        assert_eq!(whole.len(), text.lines().count() - 1, "{text}");
        for end in text.find('\n').expect("a header") + 1..text.len() {
            let cut = &text[..end];
            for row in rows::<R>(cut.as_bytes()) {
                assert!(whole.contains(&row), "{row:?} of {cut:?}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_has_no_other_rows() {
        for text in [
            "id,balance\n-1,5000\n22,\"70\"\n",
            "id,balance\r\n1,\"5000\"\r\n22,7000\r\n",
            "id,balance,opening_balance\n1,5000,4000\n2,\"6000\",\"7000\"\n",
            "id,balance,opening_balance,created_at\n1,5000,4000,2026-01-31T12:00:00.123Z\n",
            "id,balance,opening_balance,created_at\n1,5000,4000,\"2026-01-31T12:00:00+01:30\"\n",
            "id,balance,opening_balance,created_at\n1,5000,4000,2026-01-31 12:00:00.5+01:30\n",
            "id,balance,opening_balance,created_at\r\n1,5000,4000,\"2026-01-31 12:00:00-00:01:15\"\r\n",
        ] {
            assert_no_other_rows::<Account>(text);
        }
        let id = "00000000-0000-0000-0000-000000000001";
        assert_no_other_rows::<Transfer>(&format!("id,source_id,target_id,amount\n{id},1,2,5000\n"));
    }
}
