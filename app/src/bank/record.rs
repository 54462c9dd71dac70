//! The rows that are imported and exported: accounts and transfers, as lines of text and as rows of a table.

use std::io::Write;

use ::entity::{accounts as account_rows, transfers as transfer_rows};
use sea_orm::{DbBackend, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::bulk::{Column, Table};
use super::csv::{Fields, Shown};
use super::{accounts, moment};

/// A row of a table, on a line of a file.
pub(crate) trait Record: Sized + Send + 'static {
    /// What one is called.
    const NAME: &'static str;
    /// Where it goes. A file has its columns as fields, in their order.
    const TABLE: Table;
    /// The numbers of fields that a file may have, the first so many of them.
    const COUNTS: &'static [usize];

    /// Reads it; the reason why not is one line.
    fn parse(line: u64, fields: &Fields<'_>) -> Result<Self, String>;
    /// Where it stood, the first line being 1.
    fn line(&self) -> u64;
    /// What tells it from every other.
    fn key(&self) -> u128;
    /// What the key is, in text.
    fn key_text(key: u128) -> String;
    /// It by name.
    fn name(&self) -> String {
        format!("{} {}", Self::NAME, Self::key_text(self.key()))
    }
    /// How many columns so many fields fill.
    fn columns(fields: usize) -> usize;
    /// Its values, one for each of them.
    fn values(&self, backend: DbBackend) -> Vec<Value>;
    /// Writes it as a line of text, with a tab between its fields as COPY has it, or a comma.
    fn write(&self, separator: char, text: &mut Vec<u8>);
}

/// Whether a header is one that this kind of record has: then the number of its fields.
pub(crate) fn fields_of<R: Record>(header: &Fields<'_>) -> Option<usize> {
    let same =
        header.iter().zip(R::TABLE.columns).all(|(given, column)| given.eq_ignore_ascii_case(column.name()));
    (same && R::COUNTS.contains(&header.count())).then(|| header.count())
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    line: u64,
    pub(crate) id: i64,
    balance: i64,
    pub(crate) opening_balance: i64,
    created_at: Option<OffsetDateTime>,
}

impl Record for Account {
    const NAME: &'static str = "account";
    const TABLE: Table = accounts::TABLE;
    const COUNTS: &'static [usize] = &[2, 3, 4];

    fn parse(line: u64, fields: &Fields<'_>) -> Result<Self, String> {
        let balance = money("balance", fields.get(1), 0)?;
        Ok(Self {
            line,
            id: whole_number("id", fields.get(0))?,
            balance,
            // An account that is new has had nothing but its first balance.
            opening_balance: if fields.count() > 2 {
                money("opening_balance", fields.get(2), 0)?
            } else {
                balance
            },
            created_at: if fields.count() > 3 {
                Some(moment::parse("created_at", fields.get(3))?)
            } else {
                None
            },
        })
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn key(&self) -> u128 {
        self.id.cast_unsigned().into()
    }

    fn key_text(key: u128) -> String {
        (key as u64).cast_signed().to_string()
    }

    fn columns(fields: usize) -> usize {
        // The opening balance is filled in any case.
        fields.max(3)
    }

    fn values(&self, backend: DbBackend) -> Vec<Value> {
        let mut values: Vec<Value> = vec![self.id.into(), self.balance.into(), self.opening_balance.into()];
        values.extend(self.created_at.map(|moment| moment::value(moment, backend)));
        values
    }

    fn write(&self, separator: char, text: &mut Vec<u8>) {
        let Self { id, balance, opening_balance, created_at, .. } = self;
        put(text, format_args!("{id}{separator}{balance}{separator}{opening_balance}"));
        end_with_moment(*created_at, separator, text);
    }
}

impl From<account_rows::Model> for Account {
    fn from(model: account_rows::Model) -> Self {
        Self {
            line: 0,
            id: model.id,
            balance: model.balance,
            opening_balance: model.opening_balance,
            created_at: Some(model.created_at),
        }
    }
}

/// A transfer. It is history: importing it moves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    line: u64,
    pub(crate) id: Uuid,
    pub(crate) source_id: i64,
    pub(crate) target_id: i64,
    pub(crate) amount: i64,
    created_at: Option<OffsetDateTime>,
}

impl Record for Transfer {
    const NAME: &'static str = "transfer";
    const TABLE: Table = Table {
        name: "transfers",
        columns: &[
            Column::uuid("id"),
            Column::big_int("source_id"),
            Column::big_int("target_id"),
            Column::big_int("amount"),
            Column::timestamp("created_at"),
        ],
        key: Some("id"),
    };
    const COUNTS: &'static [usize] = &[4, 5];

    fn parse(line: u64, fields: &Fields<'_>) -> Result<Self, String> {
        let id = fields.get(0);
        let transfer = Self {
            line,
            id: id.parse().map_err(|_| format!("the id {} is not a UUID", Shown(id)))?,
            source_id: whole_number("source_id", fields.get(1))?,
            target_id: whole_number("target_id", fields.get(2))?,
            amount: money("amount", fields.get(3), 1)?,
            created_at: if fields.count() > 4 {
                Some(moment::parse("created_at", fields.get(4))?)
            } else {
                None
            },
        };
        if transfer.source_id == transfer.target_id {
            return Err(format!("account {} is both source and target", transfer.source_id));
        }
        Ok(transfer)
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn key(&self) -> u128 {
        self.id.as_u128()
    }

    fn key_text(key: u128) -> String {
        Uuid::from_u128(key).to_string()
    }

    fn columns(fields: usize) -> usize {
        fields
    }

    fn values(&self, backend: DbBackend) -> Vec<Value> {
        let mut values: Vec<Value> =
            vec![self.id.into(), self.source_id.into(), self.target_id.into(), self.amount.into()];
        values.extend(self.created_at.map(|moment| moment::value(moment, backend)));
        values
    }

    fn write(&self, separator: char, text: &mut Vec<u8>) {
        let Self { id, source_id, target_id, amount, created_at, .. } = self;
        put(text, format_args!("{id}{separator}{source_id}{separator}{target_id}{separator}{amount}"));
        end_with_moment(*created_at, separator, text);
    }
}

impl Transfer {
    /// From where, to where, how much.
    pub(crate) fn what(&self) -> (i64, i64, i64) {
        (self.source_id, self.target_id, self.amount)
    }
}

impl From<transfer_rows::Model> for Transfer {
    fn from(model: transfer_rows::Model) -> Self {
        Self {
            line: 0,
            id: model.id,
            source_id: model.source_id,
            target_id: model.target_id,
            amount: model.amount,
            created_at: Some(model.created_at),
        }
    }
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

    /// The rows of a file, as they would be stored.
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
