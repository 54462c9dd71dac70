//! The declared relations: the same joins with and without foreign keys.

use ::entity::{accounts, transfers};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, ModelTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use seabank::relation::{Incoming, Outgoing, Payees, Payers, SourceOf, TargetOf, source, target};
use tests::{Test, TestDatabase, TestServer, tests};

use crate::books::{insert_account, insert_transfer};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        joins_work_with_the_foreign_keys,
        joins_work_without_the_foreign_keys,
        a_transfer_of_an_unknown_account_joins_to_nothing,
    ]
}

async fn joins_work_with_the_foreign_keys(server: &TestServer) {
    let refused = insert_into_nowhere(&server.database().await).await;
    assert!(refused.is_err(), "the foreign keys are there");
    joins_work(&server.database().await).await;
}

async fn joins_work_without_the_foreign_keys(server: &TestServer) {
    joins_work(&server.database_without_foreign_keys().await).await;
}

async fn insert_into_nowhere(bank: &TestDatabase) -> Result<uuid::Uuid, sea_orm::DbErr> {
    let database = bank.connect().await;
    insert_account(&database, 90, 10).await;
    insert_transfer(&database, 90, 91, 1).await
}

/// Account 1 pays 2 twice and 3 once; 3 pays 1 once.
async fn joins_work(bank: &TestDatabase) {
    let database = bank.connect().await;
    for id in [1, 2, 3, 4] {
        insert_account(&database, id, 100).await;
    }
    let mut made = Vec::new();
    for (from, to) in [(1, 2), (1, 2), (1, 3), (3, 1)] {
        made.push(insert_transfer(&database, from, to, 5).await.expect("two accounts that are there"));
    }
    let connection = &database.connection;
    let account = accounts::Entity::find_by_id(1).one(connection).await.expect("a query").expect("account 1");

    let ids = async |transfers: Select<transfers::Entity>| {
        let mut ids: Vec<_> =
            transfers.all(connection).await.expect("a query").into_iter().map(|it| it.id).collect();
        ids.sort_by_key(|id| made.iter().position(|it| it == id));
        ids
    };
    assert_eq!(ids(account.find_linked(Outgoing)).await, made[..3]);
    assert_eq!(ids(account.find_linked(Incoming)).await, made[3..]);

    let numbers = async |others: Select<accounts::Entity>| {
        let others = others.distinct().order_by_asc(accounts::Column::Id).all(connection).await;
        others.expect("a query").into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(numbers(account.find_linked(Payees)).await, [2, 3]);
    assert_eq!(numbers(account.find_linked(Payers)).await, [3]);

    let ends = transfers::Entity::find()
        .filter(transfers::Column::Id.eq(made[3]))
        .find_also_linked(SourceOf)
        .one(connection)
        .await
        .expect("a query")
        .expect("the transfer");
    assert_eq!(ends.1.map(|it| it.id), Some(3));
    let paid = ends.0.find_linked(TargetOf).one(connection).await.expect("a query").expect("the target");
    assert_eq!(paid.id, 1);

    let eager = accounts::Entity::find()
        .order_by_asc(accounts::Column::Id)
        .find_with_linked(Outgoing)
        .all(connection)
        .await
        .expect("a query");
    let counts: Vec<_> = eager.iter().map(|(account, transfers)| (account.id, transfers.len())).collect();
    assert_eq!(counts, [(1, 3), (2, 0), (3, 1), (4, 0)]);
}

async fn a_transfer_of_an_unknown_account_joins_to_nothing(server: &TestServer) {
    let bank = server.database_without_foreign_keys().await;
    insert_into_nowhere(&bank).await.expect("nothing forbids it");
    let database = bank.connect().await;
    let lost = async |to: sea_orm::RelationDef| {
        transfers::Entity::find()
            .join(JoinType::LeftJoin, to)
            .filter(accounts::Column::Id.is_null())
            .all(&database.connection)
            .await
            .expect("a query")
            .len()
    };
    assert_eq!((lost(source()).await, lost(target()).await), (0, 1));
}
