//! The header of a file of payments, and parsing the rows after it.

use std::io::BufRead;

use uuid::Uuid;

use super::Payment;
use crate::bank::csv::{Fields, Reader, Shown};
use crate::bank::file::first_line;
use crate::bank::file::parse::Parse;
use crate::bank::load::Rejected;
use crate::bank::record::{money, whole_number};
use crate::bank::transfer::{Order, Refusal, Share, TransferRequest};
use crate::bank::{AccountId, Amount};

const KNOWN: &str = "the first line has to be a header: id,source_id,target_id,amount, in any order, id left out or not, \
    and created_at, which is ignored, there or not";

const ID: usize = 0;
const SOURCE: usize = 1;
const TARGET: usize = 2;
const AMOUNT: usize = 3;
const NAMES: [&str; 5] = ["id", "source_id", "target_id", "amount", "created_at"];

/// For each field of a line, its index in [`NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<usize>);

impl Columns {
    pub(super) fn read<I: BufRead>(reader: &mut Reader<I>) -> Result<Self, String> {
        let fields = first_line::read(reader, KNOWN)?;
        if fields.count() == 1 {
            return Err(first_line::not_known(&fields, &NAMES, KNOWN));
        }
        let mut columns: Vec<usize> = Vec::new();
        for field in fields.iter() {
            let Some(column) = NAMES.iter().position(|name| field.eq_ignore_ascii_case(name)) else {
                return Err(format!("its column {} is not known: {KNOWN}", Shown(field)));
            };
            if columns.contains(&column) {
                return Err(format!("it has the column {} twice: {KNOWN}", NAMES[column]));
            }
            columns.push(column);
        }
        match [SOURCE, TARGET, AMOUNT].into_iter().find(|column| !columns.contains(column)) {
            Some(missing) => Err(format!("it has no column {}: {KNOWN}", NAMES[missing])),
            None => Ok(Self(columns)),
        }
    }

    fn of<'a>(&self, fields: &Fields<'a>, column: usize) -> Option<&'a str> {
        self.0.iter().position(|it| *it == column).map(|n| fields.get(n))
    }

    /// A payment as a rejected row, with the file's columns. Ignored ones are empty.
    pub(super) fn rejected(&self, payment: &Payment, refusal: &Refusal) -> Rejected {
        let order = &payment.order;
        let field = |column: &usize| match *column {
            ID => order.id.to_string(),
            SOURCE => order.source.to_string(),
            TARGET => order.target.to_string(),
            AMOUNT => units(order).to_string(),
            _ => String::new(),
        };
        let row = self.0.iter().map(field).collect::<Vec<_>>().join(",");
        Rejected { line: payment.line, reason: reason(refusal), row: row.into_bytes() }
    }
}

/// Parses rows. Without an id column, ids are derived from the run and the line.
pub(super) struct Payments {
    pub(super) columns: Columns,
    pub(super) run: Uuid,
}

impl Parse for Payments {
    type Row = Payment;

    fn fields(&self) -> usize {
        self.columns.0.len()
    }

    fn row(&mut self, line: u64, fields: &Fields<'_>) -> Result<Payment, String> {
        let field = |column| self.columns.of(fields, column).unwrap_or_default();
        let id = match self.columns.of(fields, ID) {
            Some(id) => id.parse().map_err(|_| format!("the id {} is not a UUID", Shown(id)))?,
            None => Uuid::new_v5(&self.run, format!("line/{line}").as_bytes()),
        };
        let source = AccountId(whole_number("source_id", field(SOURCE))?);
        let target = AccountId(whole_number("target_id", field(TARGET))?);
        let amount = money("amount", field(AMOUNT), 1)?;
        let amount = Some(Amount::new(amount).map_err(|error| error.to_string())?);
        let request = TransferRequest { source: Some(source), target: Some(target), amount };
        Ok(Payment { line, order: Order::new(id, source, target, request) })
    }

    fn write(&self, row: &Payment, text: &mut Vec<u8>) {
        let order = &row.order;
        text.extend(order.id.as_bytes());
        for number in [order.source.0, order.target.0, units(order)] {
            text.extend(number.to_be_bytes());
        }
    }
}

fn units(order: &Order) -> i64 {
    match order.share {
        Share::Exactly(amount) => amount.units(),
        Share::Half => 0,
    }
}

/// The reason of a refusal, without the advice for `transfer`.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::IdConflict { id, field, recorded } => {
            format!("transfer {id} is recorded with another {field}: {recorded}")
        }
        Refusal::SameAccount(account) => format!("account {account} cannot pay itself"),
        Refusal::UnknownAccount(account) => format!("there is no account {account}"),
        Refusal::InsufficientFunds { account, amount } => format!("account {account} has less than {amount}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str) -> Result<Columns, String> {
        Columns::read(&mut Reader::new(header.as_bytes()))
    }

    #[test]
    fn columns_stand_in_any_order() {
        let read = columns("Amount,target_id,created_at,source_id\n").expect("it is good");
        assert_eq!(read, Columns(vec![AMOUNT, TARGET, 4, SOURCE]));
        for (header, word) in [
            ("", "it is empty"),
            ("id,source_id,target_id\n", "no column amount"),
            ("id,source_id,target_id,amount,colour\n", "`colour` is not known"),
            ("id,source_id,target_id,amount,amount\n", "amount twice"),
            ("1,2,3,4\n", "`1` is not known"),
        ] {
            let error = columns(header).expect_err("it is bad");
            assert!(error.contains(word) && error.contains(KNOWN), "{header}: {error}");
        }
    }
}
