//! Points: rows for the bulk insert, with ids that the database gives.

use database::Server;
use sea_orm_migration::prelude::*;

use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

migrate_by_object!(Migration);

impl Makes for Migration {
    fn object(&self, server: Server) -> Object {
        let mut id = ColumnDef::new("id");
        match server {
            Server::Sqlite | Server::Postgres => id.big_integer().auto_increment(),
            // Identity is a syntax error on v20.x, and a sequence, one hot row, on newer versions.
            Server::Cockroach => id.big_integer().default(Expr::cust("unique_rowid()")),
        };
        let table = Table::create()
            .table("points")
            .col(id.not_null().primary_key())
            .col(ColumnDef::new("x").double().not_null())
            .col(ColumnDef::new("y").double().not_null())
            .col(ColumnDef::new("z").double().not_null())
            .take();
        Object::Table(Box::new(table))
    }
}
