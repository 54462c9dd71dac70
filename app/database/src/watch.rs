//! Deadlines for answers, and for work that takes as long as it takes: another session asks the server whether it goes on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{self, Connection, PgConnection, Row};
use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, Statement};

use crate::{Database, Server, pooler};

/// How long an answer is waited for that should not take any time.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How often the server is asked for work that takes long, and how long for an answer about it.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const LOOK_MAX: Duration = Duration::from_secs(5);

/// So many looks in a row without a sign of it, and the work is given up: its session may just be between two statements.
const LOOKS: u32 = 3;

/// The same for schema changes of CockroachDB: behind the statement, which is over by then, they wait for jobs and for leases.
const LOOKS_AT_SCHEMA: u32 = 20;

/// Waits for an answer that should not take any time.
///
/// # Errors
///
/// Those of the work, and that the connection is lost where there is no answer in time.
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

/// The session that some work is done in, once the work has said which.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    name: Arc<Mutex<Option<String>>>,
    changes_schema: bool,
}

impl Watched {
    /// One that changes a schema.
    #[must_use]
    pub fn changing_schema() -> Self {
        Self { changes_schema: true, ..Self::default() }
    }

    /// Notes the session of this connection: to be called by the work, first of all.
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
    /// Waits for work that takes as long as it takes, for as long as the server says that its session is at it.
    ///
    /// # Errors
    ///
    /// That the connection is lost; the work is dropped then.
    pub async fn watch<T>(&self, session: &Watched, work: impl Future<Output = T>) -> Result<T, DbErr> {
        if self.server == Server::Sqlite {
            return Ok(work.await);
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.until_lost(session) => Err(lost("its session no longer answers".to_owned())),
        }
    }

    async fn until_lost(&self, session: &Watched) {
        let mut observer = None;
        let (mut idle, mut missed) = (0, 0);
        let idle_max = match self.server {
            Server::Cockroach if session.changes_schema => LOOKS_AT_SCHEMA,
            _ => LOOKS,
        };
        while idle < idle_max && missed < LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let look = tokio::time::timeout(LOOK_MAX, self.is_at_work(&mut observer, session)).await;
            match look {
                Ok(Ok(at_work)) => {
                    missed = 0;
                    idle = if at_work { 0 } else { idle + 1 };
                }
                // Its rights, or its limit of connections: no sign of anything.
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
            // Of sessions of others the state is not told.
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
