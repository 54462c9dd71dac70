//! Accounts: what each holds now, and what it held when it was opened.

use database::Server;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

use crate::dialect::at_least;
use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

migrate_by_object!(Migration);

impl Makes for Migration {
    fn object(&self, server: Server) -> Object {
        let table = Table::create()
            .table("accounts")
            // Given by the app: an id that counts up would make one range of CockroachDB take every insert.
            .col(ColumnDef::new("id").big_integer().not_null().primary_key())
            .col(ColumnDef::new("balance").big_integer().not_null())
            .col(ColumnDef::new("opening_balance").big_integer().not_null())
            .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
            .check(("accounts_balance_check", at_least(server, "balance", 0)))
            .check(("accounts_opening_balance_check", at_least(server, "opening_balance", 0)))
            .take();
        Object::Table(Box::new(table))
    }
}
