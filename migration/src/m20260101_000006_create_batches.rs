//! Batches: one row for each bulk chunk, written in the chunk's transaction, so that a chunk is applied once.

use database::Server;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone;

use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

migrate_by_object!(Migration);

impl Makes for Migration {
    fn object(&self, _: Server) -> Object {
        let table = Table::create()
            .table("batches")
            .col(ColumnDef::new("id").uuid().not_null().primary_key())
            .col(ColumnDef::new("rows").big_integer().not_null())
            .col(timestamp_with_time_zone("created_at").default(Expr::current_timestamp()))
            .take();
        Object::Table(Box::new(table))
    }
}
