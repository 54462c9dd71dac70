//! A test's own database.
#![expect(clippy::print_stderr, reason = "a database that stays behind is told")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ::database::{Database, Options, Server};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_retry::{Policy, Runner, Tx};
use url::Url;

use crate::patience::connect_patiently;
use crate::{Proxy, command};

/// A database for one test, dropped with it.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its server.
    pub server: Server,
    /// Its name, or the SQLite file's.
    pub name: String,
    url: String,
    /// The connection and the statement that drop it, if its server outlives the run.
    drop: Option<(Database, String)>,
}

impl TestDatabase {
    pub(crate) fn new(server: Server, name: String, url: String, drop: Option<(Database, String)>) -> Self {
        Self { server, name, url, drop }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A copy of this database on another server, not dropped with the test.
    #[must_use]
    pub fn moved_to(&self, url: String) -> Self {
        Self::new(self.server, self.name.clone(), url, None)
    }

    /// Its file, on SQLite.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        let path = self.url.strip_prefix("sqlite://").unwrap_or(&self.url);
        path.split('?').next().unwrap_or(path).into()
    }

    /// A pool with the app's options.
    pub async fn connect(&self) -> Database {
        self.connect_with(&Options::default()).await
    }

    /// One connection for statements over whole tables.
    pub async fn connect_for_analysis(&self) -> Database {
        self.connect_with(&Options::analysis()).await
    }

    /// A pool with a longer connect timeout.
    pub async fn connect_with(&self, options: &Options) -> Database {
        connect_patiently(&self.url, options).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A fault proxy in front of its server. Panics on SQLite.
    pub async fn proxy(&self) -> Proxy {
        let url = Url::parse(&self.url).expect("the harness makes good URLs");
        let address =
            url.socket_addrs(|| None).expect("its host is a number").pop().expect("a server has one");
        Proxy::faulty(address).await.expect("a port is free")
    }

    /// `seabank` on this database.
    #[must_use]
    pub fn seabank(&self) -> assert_cmd::Command {
        self.program("seabank").into()
    }

    /// `migration` on this database.
    #[must_use]
    pub fn migration(&self) -> assert_cmd::Command {
        self.program("migration").into()
    }

    /// Starts `seabank` or `migration` on this database. Discards the output.
    #[must_use]
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = self.program(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it can be started")
    }

    /// A command for `seabank` or `migration` on this database.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = command(name);
        command.env("DATABASE_URL", &self.url);
        command
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((admin, statement)) = self.drop.take() {
            // The runtime waits for this after the tests.
            tokio::spawn(async move {
                if let Err(error) = admin.connection.execute_unprepared(&statement).await {
                    eprintln!("{statement}: {error}");
                }
            });
        }
    }
}

/// A query's one number. Retries on contention: a killed program's statements may still be running.
pub async fn scalar(database: &Database, sql: &str) -> i64 {
    let runner = Runner::new(&database.connection, Policy::default());
    let found: Result<i64, DbErr> = runner.query("scalar", async |tx: &Tx| scalar_in(tx, sql).await).await;
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A statement's one number, for use inside a transaction.
///
/// # Errors
///
/// The database's.
pub async fn scalar_in(connection: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?;
    // PostgreSQL's literals are 32 bits wide.
    row.try_get_by_index::<i64>(0).or_else(|_| row.try_get_by_index::<i32>(0).map(i64::from))
}
