//! Transfers as lines of CSV and as rows.

use ::entity::transfers as rows;
use sea_orm::{DbBackend, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Record, end_with_moment, money, put, whole_number};
use crate::bank::bulk::{Column, Table};
use crate::bank::csv::{Fields, Shown};
use crate::bank::moment;

/// A transfer of the past: importing it moves no money.
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
    pub(crate) fn what(&self) -> (i64, i64, i64) {
        (self.source_id, self.target_id, self.amount)
    }
}

impl From<rows::Model> for Transfer {
    fn from(model: rows::Model) -> Self {
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
