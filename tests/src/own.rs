//! A server for one test, which may crash it.

use ::database::{Database, Options, Server};
use sea_orm::ConnectionTrait;

use crate::patience::connect_patiently;
use crate::{Cockroach, Postgres, StartError, TestDatabase, TestServer};

pub(crate) const BANK: &str = "seabank_crash";

/// A server with one migrated bank.
#[derive(Debug)]
pub enum OwnServer {
    /// On disk, with PostgreSQL's default durability.
    Postgres(Postgres),
    /// One node, on disk.
    Cockroach(Cockroach),
}

impl OwnServer {
    /// Starts a server like the test's; `None` if that was not started here.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn start(like: &TestServer) -> Result<Option<Self>, StartError> {
        let Some(program) = like.program() else {
            assert!(like.server != Server::Sqlite, "SQLite has no server");
            return Ok(None);
        };
        let own = match like.server {
            Server::Cockroach => Self::Cockroach(Cockroach::start_on_disk(program).await?),
            Server::Sqlite | Server::Postgres => Self::Postgres(Postgres::start(program).await?),
        };
        Ok(Some(own))
    }

    /// Its migrated bank.
    pub async fn bank(&self) -> TestDatabase {
        bank_on(&self.admin().await, self.url(BANK)).await
    }

    /// A session on another database than the bank.
    pub async fn admin(&self) -> Database {
        let home = if matches!(self, Self::Postgres(_)) { "postgres" } else { "defaultdb" };
        let session = connect_patiently(&self.url(home), &Options::analysis()).await;
        session.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Crashes it: PostgreSQL's immediate stop, or `kill -9` of the node.
    pub fn crash(&mut self) {
        match self {
            Self::Postgres(server) => server.stop_at_once(),
            Self::Cockroach(server) => server.kill(),
        }
    }

    /// Restarts it on its data; waits until it answers.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        match self {
            Self::Postgres(server) => server.restart().await.map(drop),
            Self::Cockroach(server) => server.restart().await.map(drop),
        }
    }

    fn url(&self, database: &str) -> String {
        match self {
            Self::Postgres(server) => server.url(database),
            Self::Cockroach(server) => server.url(Some(database)),
        }
    }
}

/// Creates and migrates the bank at a URL.
pub(crate) async fn bank_on(admin: &Database, url: String) -> TestDatabase {
    let create = format!("CREATE DATABASE {BANK}");
    admin.connection.execute_unprepared(&create).await.expect("a database can be made");
    let bank = TestDatabase::new(admin.server, BANK.to_owned(), url, None);
    migration::up(&bank.connect_for_analysis().await).await.expect("the schema can be migrated");
    bank
}
