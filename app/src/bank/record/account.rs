//! Accounts as lines of CSV and as rows.

use ::entity::accounts as rows;
use sea_orm::{DbBackend, Value};
use time::OffsetDateTime;

use super::{Record, end_with_moment, money, put, whole_number};
use crate::bank::bulk::Table;
use crate::bank::csv::Fields;
use crate::bank::{accounts, moment};

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
            // A new account's opening balance is its balance.
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
        // The opening balance is always filled.
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

impl From<rows::Model> for Account {
    fn from(model: rows::Model) -> Self {
        Self {
            line: 0,
            id: model.id,
            balance: model.balance,
            opening_balance: model.opening_balance,
            created_at: Some(model.created_at),
        }
    }
}
