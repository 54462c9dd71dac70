//! Sessions from SeaORM's pools.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sea_orm::{
    ConnAcquireErr, DatabaseConnection, DatabaseConnectionType, DbErr, ExecResult, QueryResult, RuntimeErr,
};
use sea_orm::{Statement, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, IntoArguments, Row};
use tokio::runtime::Handle;

use crate::session::Rows;
use crate::{Id, Server, Session, Sessions, Version};

/// How long a release may take, the pool's ping included, before the connection is closed.
const RETURN_DEADLINE: Duration = Duration::from_secs(2);

/// A SeaORM pool as a source of sessions. The first connection queries the server's version.
#[derive(Clone, Debug)]
pub struct Pool {
    pool: DatabaseConnection,
    version: Arc<OnceLock<Version>>,
}

impl Pool {
    /// Takes sessions from this connection's pool.
    pub fn new(connection: &DatabaseConnection) -> Self {
        Self { pool: connection.clone(), version: Arc::default() }
    }
}

fn not_a_pool() -> DbErr {
    DbErr::Custom(
        "this connection is not a pool of PostgreSQL, CockroachDB or SQLite: give the runner one made by Database::connect"
            .to_owned(),
    )
}

#[async_trait]
impl Sessions for Pool {
    fn version(&self) -> Option<Version> {
        match &self.pool.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => Some(Server::Sqlite.into()),
            _ => self.version.get().copied(),
        }
    }

    fn identity(&self) -> usize {
        match &self.pool.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                Arc::as_ptr(&self.pool.get_sqlite_connection_pool().connect_options()).addr()
            }
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Arc::as_ptr(&self.pool.get_postgres_connection_pool().connect_options()).addr()
            }
            _ => 0,
        }
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        match &self.pool.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                let pool = self.pool.get_sqlite_connection_pool();
                Ok(Box::new(Pooled::acquire(pool, true, unnamed).await?))
            }
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                let pool = self.pool.get_postgres_connection_pool();
                let mut session = Pooled::acquire(pool, false, unnamed).await?;
                if self.version.get().is_none() {
                    let text = session.control("SELECT version()").await?;
                    let _ = self.version.set(Version::parse(&text.unwrap_or_default()));
                }
                Ok(Box::new(session))
            }
            _ => Err(not_a_pool()),
        }
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        #[cfg(feature = "postgres")]
        if let DatabaseConnectionType::SqlxPostgresPoolConnection(_) = &self.pool.inner {
            // A transaction that waits for a standby is committed already: ending it would only
            // make it visible.
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity($1) \
                 WHERE (extract(epoch FROM xact_start) * 1000000)::int8 = $2 AND wait_event IS DISTINCT FROM 'SyncRep'";
            let query = sqlx::query(sql).bind(id.pid).bind(id.started_us).persistent(false);
            return query
                .execute(self.pool.get_postgres_connection_pool())
                .await
                .map(drop)
                .map_err(query_error);
        }
        let _ = id;
        Err(not_a_pool())
    }
}

struct Pooled<DB: sqlx::Database>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<DB>>,
    /// The runtime in which the connection was acquired. It goes back to its pool there, also from a
    /// thread without a runtime.
    runtime: Handle,
    embedded: bool,
    unnamed: bool,
    /// Whether it goes back to its pool as it is, with nothing open on it.
    returns: bool,
}

impl<DB: sqlx::Database> Pooled<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn acquire(pool: &sqlx::Pool<DB>, embedded: bool, unnamed: bool) -> Result<Self, DbErr> {
        let connection = Some(pool.acquire().await.map_err(acquire_error)?);
        Ok(Self { connection, runtime: Handle::current(), embedded, unnamed, returns: false })
    }

    fn connection(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("a session keeps its connection until it is dropped")
    }

    /// Converts SeaORM's statement into the driver's.
    fn bound<'q>(&self, statement: &Statement) -> sqlx::query::Query<'q, DB, SqlxValues>
    where
        DB: sqlx::database::HasStatementCache,
        SqlxValues: IntoArguments<DB>,
    {
        let values = statement.values.clone().unwrap_or(Values(Vec::new()));
        sqlx::query_with(AssertSqlSafe(statement.sql.clone()), SqlxValues(values)).persistent(!self.unnamed)
    }
}

impl<DB: sqlx::Database> Drop for Pooled<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn drop(&mut self) {
        // Entered before the connection is dropped, because the driver spawns then, too.
        let _entered = self.runtime.enter();
        let Some(mut connection) = self.connection.take() else { return };
        if self.returns {
            self.runtime.spawn(tokio::time::timeout(RETURN_DEADLINE, connection.return_to_pool()));
        } else if self.embedded {
            // Closing the only connection would lose an in-memory database.
            self.runtime.spawn(clean_and_return(connection));
        } else {
            drop(connection.detach());
        }
    }
}

/// Rolls back, allows writing again, and returns a SQLite connection to its pool; closes it where
/// that fails. It waits as long as a statement runs on it: closing would not stop that either.
async fn clean_and_return<DB: sqlx::Database>(mut connection: PoolConnection<DB>)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    // An error if no transaction is open, which does not matter.
    let _ = connection.execute("ROLLBACK").await;
    if connection.execute("PRAGMA query_only = OFF").await.is_ok() {
        connection.return_to_pool().await;
    } else {
        drop(connection.detach());
    }
}

#[async_trait]
impl<DB> Session for Pooled<DB>
where
    DB: sqlx::Database + sqlx::database::HasStatementCache,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    ExecResult: From<DB::QueryResult>,
    QueryResult: From<DB::Row>,
    usize: sqlx::ColumnIndex<DB::Row>,
    String: for<'r> sqlx::Decode<'r, DB>,
{
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        let rows = self.connection().fetch_all(AssertSqlSafe(sql.to_owned())).await.map_err(query_error)?;
        let first = rows.first().map(|row| row.try_get_unchecked(0)).transpose();
        first.map_err(query_error)
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        let result = match &statement.values {
            // A text with a semicolon is prepared, because the server refuses two statements in one
            // prepared text.
            None if self.embedded || !statement.sql.contains(';') => {
                self.connection().execute(AssertSqlSafe(statement.sql.clone())).await
            }
            values => {
                let query = self.bound(statement).persistent(values.is_some() && !self.unnamed);
                self.connection().execute(query).await
            }
        };
        result.map(Into::into).map_err(exec_error)
    }

    fn rows<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        let query = self.bound(statement);
        self.connection().fetch(query).map(|row| row.map(Into::into).map_err(query_error)).boxed()
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        let connection: &mut dyn Any = self.connection();
        #[cfg(feature = "postgres")]
        if let Some(connection) = connection.downcast_mut::<sqlx::PgConnection>() {
            // The driver does not log COPY.
            tracing::debug!(target: "sqlx::query", summary = statement);
            let mut copy = connection.copy_in_raw(statement).await.map_err(exec_error)?;
            copy.send(rows).await.map_err(exec_error)?;
            return copy.finish().await.map_err(exec_error);
        }
        let _ = (connection, statement, rows);
        Err(DbErr::Custom("SQLite has no COPY".to_owned()))
    }

    async fn forget_statements(&mut self) -> Result<(), DbErr> {
        self.connection().clear_cached_statements().await.map_err(query_error)
    }

    fn release(mut self: Box<Self>, close: bool) {
        self.returns = !close || self.embedded;
    }
}

fn exec_error(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

fn acquire_error(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
    }
}
