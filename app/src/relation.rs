//! The relations between the generated entities, declared column to column.
//!
//! The generated entities carry none: they are made from a schema without foreign keys. Joins need a relation only in
//! the query, not in the database, so it is declared here: SeaORM's way to what the tutorial calls a custom foreign
//! condition. Every join works whether or not the database has the foreign keys.

use ::entity::{accounts, transfers};
use sea_orm::{EntityTrait, Linked, RelationDef};

/// From a transfer to its source: `transfers.source_id` to `accounts.id`.
#[must_use]
pub fn source() -> RelationDef {
    transfers::Entity::belongs_to(accounts::Entity)
        .from(transfers::Column::SourceId)
        .to(accounts::Column::Id)
        .into()
}

/// From a transfer to its target: `transfers.target_id` to `accounts.id`.
#[must_use]
pub fn target() -> RelationDef {
    transfers::Entity::belongs_to(accounts::Entity)
        .from(transfers::Column::TargetId)
        .to(accounts::Column::Id)
        .into()
}

/// The account a transfer takes from.
#[derive(Clone, Copy, Debug)]
pub struct SourceOf;

impl Linked for SourceOf {
    type FromEntity = transfers::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source()]
    }
}

/// The account a transfer gives to.
#[derive(Clone, Copy, Debug)]
pub struct TargetOf;

impl Linked for TargetOf {
    type FromEntity = transfers::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target()]
    }
}

/// The transfers that took from an account.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing;

impl Linked for Outgoing {
    type FromEntity = accounts::Entity;
    type ToEntity = transfers::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source().rev()]
    }
}

/// The transfers that gave to an account.
#[derive(Clone, Copy, Debug)]
pub struct Incoming;

impl Linked for Incoming {
    type FromEntity = accounts::Entity;
    type ToEntity = transfers::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target().rev()]
    }
}

/// The accounts an account has given to: two hops. One row for each transfer; ask for them `distinct()`.
#[derive(Clone, Copy, Debug)]
pub struct Payees;

impl Linked for Payees {
    type FromEntity = accounts::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source().rev(), target()]
    }
}

/// The accounts that have given to an account: two hops. One row for each transfer; ask for them `distinct()`.
#[derive(Clone, Copy, Debug)]
pub struct Payers;

impl Linked for Payers {
    type FromEntity = accounts::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target().rev(), source()]
    }
}
