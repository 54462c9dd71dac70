//! Batches: one row per bulk chunk, written in its transaction, so that no chunk is applied twice.

use crate::one_object::prelude::*;

migration!(Migration, batches);

fn batches(_: Server) -> Object {
    let table = Table::create()
        .table("batches")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("rows").big_integer().not_null())
        .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
        .take();
    Object::Table(Box::new(table))
}
