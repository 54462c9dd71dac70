//! Direct access to a bank's rows for the suites.

use std::collections::BTreeSet;
use std::num::NonZero;

use ::entity::{accounts, transfers};
use database::Database;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ConnectionTrait, DbErr, EntityTrait, QueryOrder,
};
use sea_orm_retry::{Class, Policy, Tx};
use seabank::bank::Bank;
use seabank::bank::Runner;
use seabank::bank::load::{Loading, Stopped};
use seabank::bank::seed::Collisions;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) fn tapped(tap: &tests::Tap, policy: Policy) -> Runner {
    Runner::of(tap.runner(policy), tap.server(), None)
}

pub(crate) async fn insert_account(database: &Database, id: i64, balance: i64) {
    let row = accounts::ActiveModel {
        id: Set(id),
        balance: Set(balance),
        opening_balance: Set(balance),
        created_at: NotSet,
    };
    row.insert(&database.connection).await.expect("the account can be inserted");
}

/// Inserts a transfer without changing balances.
pub(crate) async fn insert_transfer(
    database: &Database,
    source: i64,
    target: i64,
    amount: i64,
) -> Result<Uuid, DbErr> {
    let row = transfers::ActiveModel {
        id: Set(Uuid::new_v4()),
        source_id: Set(source),
        target_id: Set(target),
        amount: Set(amount),
        created_at: NotSet,
    };
    Ok(row.insert(&database.connection).await?.id)
}

/// Repeats the statement after a conflict: other tests share the server.
pub(crate) async fn execute(database: &Database, sql: &str) {
    loop {
        match database.connection.execute_unprepared(sql).await {
            Err(error) if Class::of(&error) == Class::Conflict => tokio::task::yield_now().await,
            Err(error) => panic!("{sql}: {error}"),
            Ok(_) => return,
        }
    }
}

/// All accounts and transfers by id, from one snapshot.
pub(crate) async fn everything(database: &Database) -> (Vec<accounts::Model>, Vec<transfers::Model>) {
    let runner = Runner::new(database, Policy::default());
    let read = runner.read("everything", async |tx: &Tx| {
        let accounts = accounts::Entity::find().order_by_asc(accounts::Column::Id).all(tx).await?;
        let transfers = transfers::Entity::find().order_by_asc(transfers::Column::Id).all(tx).await?;
        Ok::<_, DbErr>((accounts, transfers))
    });
    read.await.expect("the bank can be read")
}

pub(crate) async fn balances(database: &Database) -> Vec<(i64, i64)> {
    everything(database).await.0.into_iter().map(|account| (account.id, account.balance)).collect()
}

pub(crate) async fn recorded(database: &Database) -> BTreeSet<Uuid> {
    everything(database).await.1.into_iter().map(|transfer| transfer.id).collect()
}

/// Seeds the same random accounts every time.
pub(crate) async fn seed(bank: &Bank, count: u64, chunk: usize) -> Result<u64, Stopped<Collisions>> {
    let loaded = bank.seed(count, 1, &loading(Uuid::new_v4(), chunk), |_| ()).await;
    loaded.map(|loaded| loaded.rows)
}

/// A load with two concurrent chunks.
pub(crate) fn loading(run: Uuid, chunk: usize) -> Loading {
    let positive = |number| NonZero::new(number).expect("not zero");
    Loading { run, chunk: positive(chunk), concurrency: positive(2), stop: CancellationToken::new() }
}
