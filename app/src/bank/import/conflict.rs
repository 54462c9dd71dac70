//! Conflicts between the rows of a file and existing rows.

use std::collections::HashSet;

use sea_orm::DbErr;
use sea_orm_retry::Tx;

use crate::bank::Movement;
use crate::bank::lookup::{holdings, movements};
use crate::bank::record::{Account, Record, Transfer};

pub(crate) type Reasons = Vec<Option<String>>;

pub(crate) trait Compared: Record {
    /// Whether a row refers to no other row.
    const STANDS_ALONE: bool;

    /// Rows that refer to missing rows. Looked up first, because a foreign key violation does not
    /// name the row.
    async fn dangling(tx: &Tx, rows: &[Self]) -> Result<Reasons, DbErr>;

    /// Rows whose key exists with other values. Under SERIALIZABLE a lookup of a free key conflicts
    /// with every insert near it.
    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr>;
}

impl Compared for Account {
    const STANDS_ALONE: bool = true;

    async fn dangling(_: &Tx, rows: &[Self]) -> Result<Reasons, DbErr> {
        Ok(vec![None; rows.len()])
    }

    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let there = holdings(tx, &ids).await?;
        let reason = |row: &&Self| {
            let opening = there.get(&row.id)?.opening_balance;
            if opening == row.opening_balance {
                return None;
            }
            Some(format!(
                "account {} already exists with opening balance {opening}, not {}",
                row.id, row.opening_balance
            ))
        };
        Ok(rows.iter().map(reason).collect())
    }
}

impl Compared for Transfer {
    const STANDS_ALONE: bool = false;

    async fn dangling(tx: &Tx, rows: &[Self]) -> Result<Reasons, DbErr> {
        let parties: HashSet<i64> = rows.iter().flat_map(|row| [row.source_id, row.target_id]).collect();
        let known = holdings(tx, &parties.into_iter().collect::<Vec<_>>()).await?;
        let reason = |row: &Self| {
            let id = [row.source_id, row.target_id].into_iter().find(|id| !known.contains_key(id))?;
            Some(format!("there is no account {id}: import the accounts first"))
        };
        Ok(rows.iter().map(reason).collect())
    }

    async fn different(tx: &Tx, rows: &[&Self]) -> Result<Reasons, DbErr> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let there = movements(tx, &ids).await?;
        let reason = |row: &&Self| {
            let what = |there: &&Movement| (there.source_id, there.target_id, there.amount);
            let there = there.get(&row.id).filter(|there| what(there) != row.what())?;
            Some(format!(
                "transfer {} already exists: {} from account {} to account {}",
                row.id, there.amount, there.source_id, there.target_id
            ))
        };
        Ok(rows.iter().map(reason).collect())
    }
}
