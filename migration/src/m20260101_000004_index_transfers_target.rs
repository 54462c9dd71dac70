//! An account's incoming transfers without a scan.

use database::Server;
use sea_orm_migration::prelude::*;

use crate::object::{Makes, Object, migrate_by_object};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

migrate_by_object!(Migration);

impl Makes for Migration {
    fn object(&self, _: Server) -> Object {
        Object::Index { name: "transfers_target_id_idx", table: "transfers", column: "target_id" }
    }
}
