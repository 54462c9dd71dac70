//! Batches: one row for each bulk chunk, written in the chunk's transaction, so that a chunk is applied once.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("batches")
            .if_not_exists()
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("rows").big_integer().not_null())
            .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("batches").if_exists().take()).await
    }
}
