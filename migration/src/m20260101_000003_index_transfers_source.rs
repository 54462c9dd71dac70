//! An account's outgoing transfers without a scan; the foreign key on its own brings no index.

use database::Server;
use sea_orm_migration::prelude::*;

use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

migrate_by_object!(Migration);

impl Makes for Migration {
    fn object(&self, _: Server) -> Object {
        Object::Index { name: "transfers_source_id_idx", table: "transfers", column: "source_id" }
    }
}
