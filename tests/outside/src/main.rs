//! A service with an axum handler and its own entity that creates tags once with `sea-orm-retry`.

mod others;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::Router;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, ConnectOptions, Database, SqlErr, TransactionSession, TransactionTrait};
use sea_orm_retry::{Ended, Policy, Runner, Tx};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod tag {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A tag's id; creates the tag if missing.
async fn get_or_create(tx: &Tx, name: &str) -> Result<i64, DbErr> {
    let nested = tx.begin().await?;
    let tag = tag::ActiveModel { name: Set(name.to_owned()), ..Default::default() };
    match tag.insert(&nested).await {
        Ok(created) => nested.commit().await.map(|()| created.id),
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            nested.rollback().await?;
            let found = tag::Entity::find().filter(tag::Column::Name.eq(name)).one(tx).await?;
            found.map(|tag| tag.id).ok_or_else(|| tx.again("the tag is not visible yet"))
        }
        Err(error) => Err(error),
    }
}

async fn create(State(runner): State<Runner>, Path(name): Path<String>) -> Result<String, (StatusCode, String)> {
    let created = runner.run("create tag", async |tx: &Tx| get_or_create(tx, &name).await).await;
    created.map(|id| id.to_string()).map_err(|error| {
        let unknown = Ended::of(&error).is_some_and(Ended::may_be_applied);
        let status = if unknown { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, error.to_string())
    })
}

async fn count(State(runner): State<Runner>) -> Result<String, (StatusCode, String)> {
    let counted: Result<u64, DbErr> =
        runner.read("count tags", async |tx: &Tx| tag::Entity::find().count(tx).await).await;
    counted.map(|count| count.to_string()).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The body of a response with status 200.
async fn ask(address: std::net::SocketAddr, request: String) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{request} HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

#[tokio::main]
async fn main() {
    others::are_refused().await;
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite::memory:".to_owned());
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let db = Database::connect(options).await.expect("a database");
    db.execute_unprepared("CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)").await.expect("a table");
    let runner = Runner::new(&db, Policy::default());
    let service = Router::new().route("/tags/{name}", post(create)).route("/tags", get(count)).with_state(runner);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, service).await });
    let asked: Vec<_> =
        (0..40).map(|n| tokio::spawn(ask(address, format!("POST /tags/name-{}", n % 5)))).collect();
    let mut ids = std::collections::BTreeSet::new();
    for answer in asked {
        ids.insert(answer.await.expect("no panic"));
    }
    let count = ask(address, "GET /tags".to_owned()).await;
    assert_eq!((ids.len(), count.as_str()), (5, "5"), "{ids:?}");
    println!("40 requests, 5 tags, each created once");
}
