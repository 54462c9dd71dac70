//! Index for an account's incoming transfers.

use crate::one_object::prelude::*;

migration!(Migration, index);

fn index(_: Server) -> Object {
    Object::Index { name: "transfers_target_id_idx", table: "transfers", column: "target_id" }
}
