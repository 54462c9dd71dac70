//! Points: rows for the bulk insert, with ids that the database gives.

use database::Server;
use sea_orm_migration::prelude::*;

use crate::dialect::server;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut id = ColumnDef::new("id");
        match server(manager).await? {
            Server::Sqlite | Server::Postgres => id.big_integer().auto_increment(),
            // Identity is a syntax error on v20.x, and a sequence, one hot row, on newer versions.
            Server::Cockroach => id.big_integer().default(Expr::cust("unique_rowid()")),
        };
        let table = Table::create()
            .table("points")
            .if_not_exists()
            .col(id.not_null().primary_key())
            .col(ColumnDef::new("x").double().not_null())
            .col(ColumnDef::new("y").double().not_null())
            .col(ColumnDef::new("z").double().not_null())
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("points").if_exists().take()).await
    }
}
