//! Transfers: one immutable row for each movement of money, under the id that its client gave it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

use crate::dialect::at_least;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The same table with no foreign keys, under the same name: see [`crate::WithoutForeignKeys`].
pub(crate) struct WithoutForeignKeys;

impl MigrationName for WithoutForeignKeys {
    fn name(&self) -> &str {
        Migration.name()
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // In the same statement: SQLite cannot add a foreign key to a table that exists.
        let table = transfers(manager)
            .foreign_key(&mut to_accounts("transfers_source_id_fkey", "source_id"))
            .foreign_key(&mut to_accounts("transfers_target_id_fkey", "target_id"))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("transfers").if_exists().take()).await
    }
}

#[async_trait::async_trait]
impl MigrationTrait for WithoutForeignKeys {
    fn use_transaction(&self) -> Option<bool> {
        Migration.use_transaction()
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(transfers(manager)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Migration.down(manager).await
    }
}

fn transfers(manager: &SchemaManager) -> TableCreateStatement {
    let amount = at_least(manager.get_database_backend(), "amount", 1);
    Table::create()
        .table("transfers")
        .if_not_exists()
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("source_id").big_integer().not_null())
        .col(ColumnDef::new("target_id").big_integer().not_null())
        .col(ColumnDef::new("amount").big_integer().not_null())
        .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
        .check(("transfers_amount_check", amount))
        .check(("transfers_accounts_check", Expr::col("source_id").ne(Expr::col("target_id"))))
        .take()
}

/// No cascade: an account with a history cannot be deleted.
fn to_accounts(name: &str, column: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().name(name).from("transfers", column).to("accounts", "id").take()
}
