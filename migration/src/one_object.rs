//! A migration that creates one object: what every migration file shares.

use database::Server;
use sea_orm_migration::MigrationTrait;

use crate::object::Object;

/// What a migration file imports.
pub(crate) mod prelude {
    pub(crate) use database::Server;
    pub(crate) use sea_orm_migration::prelude::*;
    pub(crate) use sea_orm_migration::schema::timestamp_with_time_zone;

    pub(crate) use super::migration;
    pub(crate) use crate::dialect::at_least;
    pub(crate) use crate::object::Object;
}

/// A migration whose `up` creates one object and whose `down` drops it.
pub(crate) trait OneObject: MigrationTrait {
    /// The object, for a server.
    fn object(&self, server: Server) -> Object;
}

/// `migration!(Migration, object)` declares a migration named after its file that creates what
/// `object(Server) -> Object` returns.
macro_rules! migration {
    ($name:ident, $object:ident) => {
        #[derive(DeriveMigrationName)]
        pub(crate) struct $name;

        impl $crate::one_object::OneObject for $name {
            fn object(&self, server: Server) -> Object {
                $object(server)
            }
        }

        #[sea_orm_migration::async_trait::async_trait]
        impl MigrationTrait for $name {
            // The command has a transaction where the server allows one.
            fn use_transaction(&self) -> Option<bool> {
                Some(false)
            }

            async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
                $crate::object::create(manager, $object).await
            }

            async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
                $crate::object::drop(manager, $object).await
            }
        }
    };
}
pub(crate) use migration;
