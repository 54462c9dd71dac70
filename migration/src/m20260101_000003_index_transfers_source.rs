//! Index for an account's outgoing transfers: a foreign key alone has no index.

use crate::one_object::prelude::*;

migration!(Migration, index);

fn index(_: Server) -> Object {
    Object::Index { name: "transfers_source_id_idx", table: "transfers", column: "source_id" }
}
