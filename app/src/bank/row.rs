//! Reading rows. The hot path reads no times, because other programs may store some that the driver
//! cannot decode. [`accounts`] and [`transfers`] name such a row.

use ::entity::{accounts, transfers};
use sea_orm::{ConnectionTrait, DbErr, DerivePartialModel, FromQueryResult, QuerySelect, Select};
use time::OffsetDateTime;
use uuid::Uuid;

use super::moment;

/// An account without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "accounts::Entity")]
pub struct Holding {
    /// Its number.
    pub id: i64,
    /// Its balance in minor units.
    pub balance: i64,
    /// Its opening balance.
    pub opening_balance: i64,
}

/// A transfer without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "transfers::Entity")]
pub struct Movement {
    /// Its id.
    pub id: Uuid,
    /// Its source account.
    pub source_id: i64,
    /// Its target account.
    pub target_id: i64,
    /// Its amount in minor units.
    pub amount: i64,
}

/// Accounts with their times.
///
/// # Errors
///
/// The database's, or which row's time cannot be represented.
pub(crate) async fn accounts(
    connection: &impl ConnectionTrait,
    select: Select<accounts::Entity>,
) -> Result<Vec<accounts::Model>, DbErr> {
    use accounts::Column::{Balance, CreatedAt, Id, OpeningBalance};
    let time = moment::readable(CreatedAt, connection.get_database_backend());
    let select = select.select_only().columns([Id, Balance, OpeningBalance]).expr_as(time, "created_at");
    let rows = select.into_model::<AccountRow>().all(connection).await?;
    let account = |row: AccountRow| {
        Ok(accounts::Model {
            id: row.id,
            balance: row.balance,
            opening_balance: row.opening_balance,
            created_at: readable(row.created_at, || format!("account {}", row.id))?,
        })
    };
    rows.into_iter().map(account).collect()
}

/// Transfers with their times.
///
/// # Errors
///
/// As [`accounts`].
pub(crate) async fn transfers(
    connection: &impl ConnectionTrait,
    select: Select<transfers::Entity>,
) -> Result<Vec<transfers::Model>, DbErr> {
    let select = transfer_columns(select, connection);
    let rows = select.into_model::<TransferRow>().all(connection).await?;
    rows.into_iter().map(TransferRow::transfer).collect()
}

/// The columns of a [`TransferRow`].
pub(crate) fn transfer_columns(
    select: Select<transfers::Entity>,
    connection: &impl ConnectionTrait,
) -> Select<transfers::Entity> {
    use transfers::Column::{Amount, CreatedAt, Id, SourceId, TargetId};
    let time = moment::readable(CreatedAt, connection.get_database_backend());
    select.select_only().columns([Id, SourceId, TargetId, Amount]).expr_as(time, "created_at")
}

#[derive(FromQueryResult)]
struct AccountRow {
    id: i64,
    balance: i64,
    opening_balance: i64,
    created_at: Option<OffsetDateTime>,
}

#[derive(FromQueryResult)]
pub(crate) struct TransferRow {
    id: Uuid,
    source_id: i64,
    target_id: i64,
    amount: i64,
    created_at: Option<OffsetDateTime>,
}

impl TransferRow {
    /// # Errors
    ///
    /// As [`accounts`].
    pub(crate) fn transfer(self) -> Result<transfers::Model, DbErr> {
        Ok(transfers::Model {
            id: self.id,
            source_id: self.source_id,
            target_id: self.target_id,
            amount: self.amount,
            created_at: readable(self.created_at, || format!("transfer {}", self.id))?,
        })
    }
}

fn readable(time: Option<OffsetDateTime>, whose: impl FnOnce() -> String) -> Result<OffsetDateTime, DbErr> {
    time.and_then(|time| time.checked_to_offset(time::UtcOffset::UTC)).ok_or_else(|| {
        DbErr::Type(format!(
            "the created_at of {} is not in the years 1 to 9999: another program has written it, correct it there",
            whose()
        ))
    })
}
