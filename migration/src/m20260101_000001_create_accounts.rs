//! Accounts: the balance now, and the balance at opening.

use crate::one_object::prelude::*;

migration!(Migration, accounts);

fn accounts(server: Server) -> Object {
    let table = Table::create()
        .table("accounts")
        // Chosen by the app: sequential ids would send every insert to one range of CockroachDB.
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("balance").big_integer().not_null())
        .col(ColumnDef::new("opening_balance").big_integer().not_null())
        .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
        .check(("accounts_balance_check", at_least(server, "balance", 0)))
        .check(("accounts_opening_balance_check", at_least(server, "opening_balance", 0)))
        .take();
    Object::Table(Box::new(table))
}
