//! Transfers: one immutable row for each movement of money, under the id that its client gave it.

use database::Server;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

use crate::dialect::at_least;
use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The same table with no foreign keys, under the same name: see [`crate::WithoutForeignKeys`].
pub(crate) struct WithoutForeignKeys;

migrate_by_object!(Migration);
migrate_by_object!(WithoutForeignKeys);

impl MigrationName for WithoutForeignKeys {
    fn name(&self) -> &str {
        Migration.name()
    }
}

impl Makes for Migration {
    fn object(&self, server: Server) -> Object {
        // In the same statement: SQLite cannot add a foreign key to a table that exists.
        let table = transfers(server)
            .foreign_key(&mut to_accounts("transfers_source_id_fkey", "source_id"))
            .foreign_key(&mut to_accounts("transfers_target_id_fkey", "target_id"))
            .take();
        Object::Table(Box::new(table))
    }
}

impl Makes for WithoutForeignKeys {
    fn object(&self, server: Server) -> Object {
        Object::Table(Box::new(transfers(server)))
    }
}

fn transfers(server: Server) -> TableCreateStatement {
    Table::create()
        .table("transfers")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("source_id").big_integer().not_null())
        .col(ColumnDef::new("target_id").big_integer().not_null())
        .col(ColumnDef::new("amount").big_integer().not_null())
        .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
        .check(("transfers_amount_check", at_least(server, "amount", 1)))
        .check(("transfers_accounts_check", Expr::col("source_id").ne(Expr::col("target_id"))))
        .take()
}

/// No cascade: an account with a history cannot be deleted.
fn to_accounts(name: &str, column: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().name(name).from("transfers", column).to("accounts", "id").take()
}
