//! Points: rows for the bulk insert, with ids that the database generates.

use crate::one_object::prelude::*;

migration!(Migration, points);

fn points(server: Server) -> Object {
    let mut id = ColumnDef::new("id");
    match server {
        Server::Sqlite | Server::Postgres => id.big_integer().auto_increment(),
        // v20.x has no IDENTITY; newer versions back it with a sequence, one hot row.
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
