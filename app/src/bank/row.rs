//! Reading rows: only the columns that are needed, and times that can be represented.
//!
//! Other programs may store times that the driver cannot decode. So the hot path reads none, and whoever shows times
//! reads whole rows by [`accounts`] and [`transfers`], which name the row that cannot be read.

use ::entity::{accounts, transfers};
use sea_orm::{ConnectionTrait, DbErr, DerivePartialModel, FromQueryResult, QuerySelect, Select};
use time::OffsetDateTime;
use uuid::Uuid;

use super::moment;

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "accounts::Entity")]
pub struct Holding {
    /// Its number.
    pub id: i64,
    /// What it has now, in minor units.
    pub balance: i64,
    /// What it was opened with.
    pub opening_balance: i64,
}

/// What a recorded transfer moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "transfers::Entity")]
pub struct Movement {
    /// Its id.
    pub id: Uuid,
    /// The account it took from.
    pub source_id: i64,
    /// The account it gave to.
    pub target_id: i64,
    /// How much, in minor units.
    pub amount: i64,
}

/// Whole accounts, their times included.
///
/// # Errors
///
/// The database's; and where a time cannot be represented, whose it is.
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

/// Whole transfers, their times included.
///
/// # Errors
///
/// As [`accounts`].
pub(crate) async fn transfers(
    connection: &impl ConnectionTrait,
    select: Select<transfers::Entity>,
) -> Result<Vec<transfers::Model>, DbErr> {
    use transfers::Column::{Amount, CreatedAt, Id, SourceId, TargetId};
    let time = moment::readable(CreatedAt, connection.get_database_backend());
    let select = select.select_only().columns([Id, SourceId, TargetId, Amount]).expr_as(time, "created_at");
    let rows = select.into_model::<TransferRow>().all(connection).await?;
    let transfer = |row: TransferRow| {
        Ok(transfers::Model {
            id: row.id,
            source_id: row.source_id,
            target_id: row.target_id,
            amount: row.amount,
            created_at: readable(row.created_at, || format!("transfer {}", row.id))?,
        })
    };
    rows.into_iter().map(transfer).collect()
}

#[derive(FromQueryResult)]
struct AccountRow {
    id: i64,
    balance: i64,
    opening_balance: i64,
    created_at: Option<OffsetDateTime>,
}

#[derive(FromQueryResult)]
struct TransferRow {
    id: Uuid,
    source_id: i64,
    target_id: i64,
    amount: i64,
    created_at: Option<OffsetDateTime>,
}

fn readable(time: Option<OffsetDateTime>, whose: impl FnOnce() -> String) -> Result<OffsetDateTime, DbErr> {
    time.and_then(|time| time.checked_to_offset(time::UtcOffset::UTC)).ok_or_else(|| {
        DbErr::Type(format!(
            "the created_at of {} is not in the years 1 to 9999: another program has written it, correct it there",
            whose()
        ))
    })
}
