//! Relations between the generated entities, declared column to column.
//!
//! Entities are generated from a schema without foreign keys, so they carry no relations. These are
//! the tutorial's custom foreign conditions: joins work with and without foreign keys.

use ::entity::{accounts, transfers};
use sea_orm::{EntityTrait, Linked, RelationDef};

/// From a transfer to its source account.
#[must_use]
pub fn source() -> RelationDef {
    transfers::Entity::belongs_to(accounts::Entity)
        .from(transfers::Column::SourceId)
        .to(accounts::Column::Id)
        .into()
}

/// From a transfer to its target account.
#[must_use]
pub fn target() -> RelationDef {
    transfers::Entity::belongs_to(accounts::Entity)
        .from(transfers::Column::TargetId)
        .to(accounts::Column::Id)
        .into()
}

/// A transfer's source account.
#[derive(Clone, Copy, Debug)]
pub struct SourceOf;

impl Linked for SourceOf {
    type FromEntity = transfers::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source()]
    }
}

/// A transfer's target account.
#[derive(Clone, Copy, Debug)]
pub struct TargetOf;

impl Linked for TargetOf {
    type FromEntity = transfers::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target()]
    }
}

/// An account's outgoing transfers.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing;

impl Linked for Outgoing {
    type FromEntity = accounts::Entity;
    type ToEntity = transfers::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source().rev()]
    }
}

/// An account's incoming transfers.
#[derive(Clone, Copy, Debug)]
pub struct Incoming;

impl Linked for Incoming {
    type FromEntity = accounts::Entity;
    type ToEntity = transfers::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target().rev()]
    }
}

/// The accounts that an account has paid, one row for each transfer: add `distinct()`.
#[derive(Clone, Copy, Debug)]
pub struct Payees;

impl Linked for Payees {
    type FromEntity = accounts::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![source().rev(), target()]
    }
}

/// The accounts that have paid an account, one row for each transfer: add `distinct()`.
#[derive(Clone, Copy, Debug)]
pub struct Payers;

impl Linked for Payers {
    type FromEntity = accounts::Entity;
    type ToEntity = accounts::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![target().rev(), source()]
    }
}
