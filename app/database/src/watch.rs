//! Time limits for short answers, and a watchdog for long work: a second session asks whether the
//! server is still working.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{self, Connection, PgConnection, Row};
use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, Statement};

use crate::{Database, Server, pooler};

/// The time limit for a short answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The interval of the watchdog's queries, and the time limit for each.
const POLL_EVERY: Duration = Duration::from_secs(3);
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// The work is given up after this many queries without activity: a session may be between two
/// statements.
const POLLS_MAX: u32 = 3;

/// The same for schema changes on CockroachDB, which wait for jobs and leases after the statement
/// is over.
const SCHEMA_POLLS_MAX: u32 = 20;

/// Waits for a short answer.
///
/// # Errors
///
/// Those of the work, or a lost connection after a timeout.
pub async fn answered<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match tokio::time::timeout(ANSWER_MAX, work).await {
        Ok(answer) => answer,
        Err(_) => Err(lost(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

fn lost(why: String) -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, why);
    DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Io(error).into()))
}

/// The session that executes some work, once [`note`](Self::note) is called.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    name: Arc<Mutex<Option<String>>>,
    changes_schema: bool,
}

impl Watched {
    /// A session that changes the schema.
    #[must_use]
    pub fn changing_schema() -> Self {
        Self { changes_schema: true, ..Self::default() }
    }

    /// Records the connection's session. The work calls this first.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn note(&self, connection: &impl ConnectionTrait, server: Server) -> Result<(), DbErr> {
        if server == Server::Sqlite {
            return Ok(());
        }
        let statement =
            Statement::from_string(connection.get_database_backend(), pooler::session_sql(server));
        let row = answered(connection.query_one_raw(statement)).await?;
        let name: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Database {
    /// Waits for work without a time limit, while the server reports its session as active.
    ///
    /// # Errors
    ///
    /// A lost connection; the work is dropped.
    pub async fn watch<T>(&self, session: &Watched, work: impl Future<Output = T>) -> Result<T, DbErr> {
        if self.server == Server::Sqlite {
            return Ok(work.await);
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.until_lost(session) => Err(lost("its session is no longer active".to_owned())),
        }
    }

    async fn until_lost(&self, session: &Watched) {
        let mut observer = None;
        let (mut idle, mut missed) = (0, 0);
        let idle_max = match self.server {
            Server::Cockroach if session.changes_schema => SCHEMA_POLLS_MAX,
            _ => POLLS_MAX,
        };
        while idle < idle_max && missed < POLLS_MAX {
            tokio::time::sleep(POLL_EVERY).await;
            let look = tokio::time::timeout(POLL_TIMEOUT, self.is_at_work(&mut observer, session)).await;
            match look {
                Ok(Ok(at_work)) => {
                    missed = 0;
                    idle = if at_work { 0 } else { idle + 1 };
                }
                // Missing rights, or a connection limit: says nothing about the session.
                Ok(Err(sqlx::Error::Database(error))) => {
                    tracing::debug!(%error, "the session cannot be asked for");
                    observer = None;
                }
                Ok(Err(_)) | Err(_) => {
                    missed += 1;
                    observer = None;
                }
            }
        }
    }

    async fn is_at_work(
        &self,
        observer: &mut Option<PgConnection>,
        session: &Watched,
    ) -> Result<bool, sqlx::Error> {
        let mut asking = match observer.take() {
            Some(asking) => asking,
            None => {
                let options = self.connection.get_postgres_connection_pool().connect_options();
                PgConnection::connect_with(&options).await?
            }
        };
        let sql = match self.server {
            Server::Cockroach => {
                "SELECT coalesce(max(active_queries), '') <> '' FROM crdb_internal.cluster_sessions WHERE session_id = $1"
            }
            // The state of another user's session is NULL.
            _ => {
                "SELECT count(*) FILTER (WHERE state IS NULL OR state IN ('active', 'disabled')) > 0 \
                 FROM pg_catalog.pg_stat_activity WHERE pid::text = $1"
            }
        };
        let name = session.name();
        let is_known = name.is_some();
        let row =
            sqlx::query(sql).bind(name.unwrap_or_default()).persistent(false).fetch_one(&mut asking).await?;
        *observer = Some(asking);
        Ok(is_known && row.try_get(0)?)
    }
}
