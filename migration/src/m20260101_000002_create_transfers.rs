//! Transfers: one immutable row each, under the id that the client chose (the idempotency key).

use crate::one_object::prelude::*;

migration!(Migration, with_foreign_keys);
// Of the same name: see `crate::WithoutForeignKeys`.
migration!(WithoutForeignKeys, without_foreign_keys);

fn with_foreign_keys(server: Server) -> Object {
    // In the same statement: SQLite cannot add a foreign key to an existing table.
    let table = transfers(server)
        .foreign_key(&mut to_accounts("transfers_source_id_fkey", "source_id"))
        .foreign_key(&mut to_accounts("transfers_target_id_fkey", "target_id"))
        .take();
    Object::Table(Box::new(table))
}

fn without_foreign_keys(server: Server) -> Object {
    Object::Table(Box::new(transfers(server)))
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

/// Without CASCADE: an account with transfers cannot be deleted.
fn to_accounts(name: &str, column: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().name(name).from("transfers", column).to("accounts", "id").take()
}
