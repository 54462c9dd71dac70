//! Accounts: what each holds now, and what it held when it was opened.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

use crate::dialect::at_least;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let table = Table::create()
            .table("accounts")
            .if_not_exists()
            // Given by the app: an id that counts up would make one range of CockroachDB take every insert.
            .col(ColumnDef::new("id").big_integer().not_null().primary_key())
            .col(ColumnDef::new("balance").big_integer().not_null())
            .col(ColumnDef::new("opening_balance").big_integer().not_null())
            .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
            .check(("accounts_balance_check", at_least(backend, "balance", 0)))
            .check(("accounts_opening_balance_check", at_least(backend, "opening_balance", 0)))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("accounts").if_exists().take()).await
    }
}
