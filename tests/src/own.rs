//! A server that one test has for itself, because it crashes it: nobody else's databases are on it.

use ::database::{Database, Options, Server};
use sea_orm::ConnectionTrait;

use crate::patience::connect_patiently;
use crate::{Cockroach, Postgres, StartError, TestDatabase, TestServer};

/// The name of the bank on such a server.
pub(crate) const BANK: &str = "seabank_crash";

/// A server with one migrated bank on it, to be crashed and started again.
#[derive(Debug)]
pub enum OwnServer {
    /// Its data is on disk, made durable as PostgreSQL does by default.
    Postgres(Postgres),
    /// One node, its store on disk.
    Cockroach(Cockroach),
}

impl OwnServer {
    /// Starts another one like the server that the test runs on; `None` where that was not started here and belongs to others.
    ///
    /// # Errors
    ///
    /// What the server says.
    ///
    /// # Panics
    ///
    /// On SQLite, which has no server.
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

    /// A bank on it, its schema migrated.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    pub async fn bank(&self) -> TestDatabase {
        bank_on(&self.admin().await, self.url(BANK)).await
    }

    /// A session on another database of the server than the bank.
    ///
    /// # Panics
    ///
    /// Where there is none to be had.
    pub async fn admin(&self) -> Database {
        let home = if matches!(self, Self::Postgres(_)) { "postgres" } else { "defaultdb" };
        let session = connect_patiently(&self.url(home), &Options::analysis()).await;
        session.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Ends it as hard as can be while its data stays usable at once: PostgreSQL's immediate stop, `kill -9` of the node.
    pub fn crash(&mut self) {
        match self {
            Self::Postgres(server) => server.stop_at_once(),
            Self::Cockroach(server) => server.kill(),
        }
    }

    /// Starts it again on what it has kept; waits until it answers.
    ///
    /// # Errors
    ///
    /// What the server says.
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

/// Makes the bank, whose URL is given, and migrates its schema.
pub(crate) async fn bank_on(admin: &Database, url: String) -> TestDatabase {
    let create = format!("CREATE DATABASE {BANK}");
    admin.connection.execute_unprepared(&create).await.expect("a database can be made");
    let bank = TestDatabase::new(admin.server, BANK.to_owned(), url, None);
    migration::up(&bank.connect_for_analysis().await).await.expect("the schema can be migrated");
    bank
}
