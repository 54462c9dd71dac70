//! A server of the run, and its databases.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use ::database::{Database, Options, Server};
use sea_orm::ConnectionTrait;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::found::Origin;
use crate::patience::connect_patiently;
use crate::{Cockroach, Found, Postgres, StartError, TestDatabase};

const TEMPLATE: &str = "seabank_template";

/// A server for tests. Each test creates its own database.
#[derive(Debug)]
pub struct TestServer {
    /// Which one.
    pub server: Server,
    /// In its own words.
    pub version: String,
    found: Found,
    store: Store,
    /// PostgreSQL copies a template for one session at a time.
    copying: Mutex<()>,
    made: AtomicU32,
}

#[derive(Debug)]
enum Store {
    Files(TempDir),
    Postgres { admin: Database, server: Postgres },
    Cockroach { admin: Database, server: Cockroach },
}

impl TestServer {
    /// Starts an available server.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn start(found: &Found) -> Result<Self, StartError> {
        let store = match &found.origin {
            Origin::Sqlite => {
                let folder = TempDir::with_prefix("seabank-sqlite-")
                    .map_err(|error| failed("SQLite", error.to_string()))?;
                Store::Files(folder)
            }
            Origin::Postgres(programs) => {
                let server = Postgres::start(programs).await?;
                Store::Postgres { admin: admin("PostgreSQL", &server.url("postgres")).await?, server }
            }
            Origin::Cockroach(source) => {
                let server = Cockroach::from(source).await?;
                Store::Cockroach { admin: admin("CockroachDB", &server.url(None)).await?, server }
            }
        };
        let started = Self {
            server: found.server,
            version: String::new(),
            found: found.clone(),
            store,
            copying: Mutex::default(),
            made: AtomicU32::new(0),
        };
        let version = started.prepare().await.map_err(|reason| failed("the server", reason))?;
        Ok(Self { version, ..started })
    }

    /// The prefix of its tests' names.
    #[must_use]
    pub fn name(&self) -> String {
        self.found.name()
    }

    /// CockroachDB's program or PostgreSQL's folder; `None` for an existing server.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        match &self.store {
            Store::Files(_) => None,
            Store::Postgres { server, .. } => Some(server.programs()),
            Store::Cockroach { server, .. } => server.program(),
        }
    }

    /// Migrates the template; returns the server's version.
    async fn prepare(&self) -> Result<String, String> {
        if let Store::Cockroach { admin, .. } = &self.store {
            // No templates there.
            return match admin.server {
                Server::Cockroach => Ok(admin.version.clone()),
                other => Err(format!("it is {other}, not CockroachDB")),
            };
        }
        if let Store::Postgres { admin, .. } = &self.store {
            execute(admin, &format!("CREATE DATABASE {TEMPLATE}")).await;
        }
        let template = connect_patiently(&self.url(TEMPLATE), &Options::analysis()).await;
        let template = template.map_err(|error| error.to_string())?;
        migration::up(&template).await.map_err(|error| error.to_string())?;
        let version = template.version.clone();
        // A template with sessions cannot be copied.
        template.connection.close().await.map_err(|error| error.to_string())?;
        Ok(version)
    }

    /// A new, migrated database.
    pub async fn database(&self) -> TestDatabase {
        match &self.store {
            Store::Files(folder) => {
                let bank = self.new_database();
                fs::copy(folder.path().join(TEMPLATE), bank.file()).expect("the template can be copied");
                bank
            }
            Store::Postgres { admin, .. } => {
                let _one_at_a_time = self.copying.lock().await;
                let bank = self.new_database();
                execute(admin, &format!("CREATE DATABASE {} TEMPLATE {TEMPLATE}", bank.name)).await;
                bank
            }
            Store::Cockroach { .. } => {
                let bank = self.empty_database().await;
                migration::up(&bank.connect_for_analysis().await).await.expect("the schema can be migrated");
                bank
            }
        }
    }

    /// A new, empty database.
    pub async fn empty_database(&self) -> TestDatabase {
        let bank = self.new_database();
        if let Store::Postgres { admin, .. } | Store::Cockroach { admin, .. } = &self.store {
            execute(admin, &format!("CREATE DATABASE {}", bank.name)).await;
        }
        bank
    }

    /// A new database, migrated without foreign keys.
    pub async fn database_without_foreign_keys(&self) -> TestDatabase {
        let bank = self.empty_database().await;
        let database = bank.connect_for_analysis().await;
        migration::run::<migration::WithoutForeignKeys>(&database, migration::Command::Up(None))
            .await
            .expect("the schema can be migrated");
        bank
    }

    fn new_database(&self) -> TestDatabase {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("seabank_test_{}_{number}", std::process::id());
        let drop = match &self.store {
            Store::Files(_) => None,
            Store::Postgres { admin, .. } => {
                Some((admin.clone(), format!("DROP DATABASE {name} WITH (FORCE)")))
            }
            // Ends with the run; DROP would take longer.
            Store::Cockroach { server, .. } if server.is_throw_away() => None,
            Store::Cockroach { admin, .. } => Some((admin.clone(), format!("DROP DATABASE {name} CASCADE"))),
        };
        let url = self.url(&name);
        TestDatabase::new(self.server, name, url, drop)
    }

    fn url(&self, name: &str) -> String {
        match &self.store {
            Store::Files(folder) => format!("sqlite://{}?mode=rwc", folder.path().join(name).display()),
            Store::Postgres { server, .. } => server.url(name),
            Store::Cockroach { server, .. } => server.url(Some(name)),
        }
    }

    /// Waits for databases being dropped, and stops a server that was started here.
    pub(crate) async fn stop(self) {
        if let Store::Postgres { admin, .. } | Store::Cockroach { admin, .. } = &self.store {
            // One connection: this waits for the queued statements.
            let _ = admin.connection.execute_unprepared("SELECT 1").await;
        }
    }
}

/// Such as `PostgreSQL`, or `CockroachDB v20.2` if there are several.
impl fmt::Display for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.fmt(f)
    }
}

/// One session for creating and dropping databases.
async fn admin(server: &'static str, url: &str) -> Result<Database, StartError> {
    connect_patiently(url, &Options::analysis()).await.map_err(|error| failed(server, error.to_string()))
}

async fn execute(admin: &Database, sql: &str) {
    let done = admin.connection.execute_unprepared(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn failed(server: &'static str, reason: String) -> StartError {
    StartError { server, reason }
}
