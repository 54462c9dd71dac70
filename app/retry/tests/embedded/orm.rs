//! SeaORM code works with a `Tx`.
#![allow(unreachable_pub, reason = "SeaORM's macros make the models public")]

use futures_util::TryStreamExt;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, DbErr, QueryOrder, TransactionTrait};
use sea_orm_retry::{Ended, Runner, Tx};

use crate::Log;

mod cake {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "cake")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        pub fruits: HasMany<super::fruit::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod fruit {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "fruit")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        pub cake_id: Option<i64>,
        #[sea_orm(belongs_to, from = "cake_id", to = "id")]
        pub cake: HasOne<super::cake::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn kitchen() -> Log {
    let log = Log::new(2).await;
    for sql in [
        "CREATE TABLE cake (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "CREATE TABLE fruit (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cake_id BIGINT REFERENCES cake)",
    ] {
        log.db.execute_unprepared(sql).await.expect("a new table");
    }
    log
}

async fn rename<C: ConnectionTrait + TransactionTrait>(
    connection: &C,
    from: &str,
    to: &str,
) -> Result<(), DbErr> {
    let found = cake::Entity::find().filter(cake::Column::Name.eq(from)).one(connection).await?;
    let mut found: cake::ActiveModel = found.ok_or(DbErr::RecordNotFound(from.to_owned()))?.into();
    found.name = Set(to.to_owned());
    found.update(connection).await.map(drop)
}

#[tokio::test]
async fn entities_active_models_streams_and_helpers() {
    let log = kitchen().await;
    let body = async |tx: &Tx| {
        let cheese =
            cake::ActiveModel { name: Set("cheese".to_owned()), ..Default::default() }.insert(tx).await?;
        rename(tx, "cheese", "cheesecake").await?;
        cake::ActiveModel { name: Set("fruit".to_owned()), ..Default::default() }.save(tx).await?;
        let many = ["a", "b"].map(|name| fruit::ActiveModel {
            name: Set(name.to_owned()),
            cake_id: Set(Some(cheese.id)),
            ..Default::default()
        });
        fruit::Entity::insert_many(many).exec(tx).await?;
        let streamed: Vec<cake::Model> =
            cake::Entity::find().order_by_asc(cake::Column::Id).stream(tx).await?.try_collect().await?;
        fruit::Entity::delete_many().filter(fruit::Column::Name.eq("b")).exec(tx).await?;
        Ok::<_, DbErr>(streamed.into_iter().map(|cake| cake.name).collect::<Vec<_>>())
    };
    assert_eq!(log.runner.run("bake", body).await, Ok(vec!["cheesecake".to_owned(), "fruit".to_owned()]));
    assert_eq!(fruit::Entity::find().count(&log.db).await, Ok(1));
}

#[tokio::test]
async fn nested_builders_and_the_loader() {
    let log = kitchen().await;
    let body = async |tx: &Tx| {
        let saved = cake::ActiveModel::builder()
            .set_name("lemon")
            .add_fruit(fruit::ActiveModel::builder().set_name("zest"))
            .save(tx)
            .await?;
        let loaded =
            cake::Entity::load().filter(cake::Column::Name.eq("lemon")).with(fruit::Entity).one(tx).await?;
        let loaded = loaded.ok_or(DbErr::RecordNotFound("lemon".to_owned()))?;
        assert_eq!(loaded.fruits.len(), 1);
        saved.delete(tx).await?;
        cake::ActiveModel::builder().set_name("plain").insert(tx).await?;
        Ok::<_, DbErr>(())
    };
    log.runner.run("build", body).await.expect("applied");
    let names: Vec<String> =
        cake::Entity::find().all(&log.db).await.expect("readable").into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["plain"]);
}

async fn generic<T, F>(runner: &Runner, body: F) -> Result<T, DbErr>
where
    T: Send,
    F: for<'c> Fn(&'c Tx) -> std::pin::Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'c>>
        + Clone
        + Send
        + Sync,
{
    runner.run_boxed("generic", body).await
}

#[tokio::test]
async fn a_run_can_be_spawned_with_captures_and_boxed_for_generic_callers() {
    let log = std::sync::Arc::new(kitchen().await);
    let tasks: Vec<_> = (0..4_i64)
        .map(|n| {
            let log = std::sync::Arc::clone(&log);
            tokio::spawn(async move {
                let names = [format!("a{n}"), format!("b{n}")];
                let names = &names;
                log.runner
                    .run("spawned", async |tx: &Tx| {
                        for name in names {
                            cake::ActiveModel { name: Set(name.clone()), ..Default::default() }
                                .insert(tx)
                                .await?;
                        }
                        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
                    })
                    .await
                    .map_err(|error| error.downcast_ref::<Ended>().map(Ended::kind))?;
                let boxed =
                    generic(&log.runner, |tx| Box::pin(async move { cake::Entity::find().count(tx).await }));
                boxed.await.map_err(|error| Ended::of(&error).map(Ended::kind))
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.expect("no panic").expect("applied") >= 2);
    }
    assert_eq!(cake::Entity::find().count(&log.db).await, Ok(8));
}
