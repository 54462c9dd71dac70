//! SeaORM's pools as a source of sessions.

use std::any::Any;
use std::sync::Arc;
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
use tokio::time::Instant;

use crate::session::Rows;
use crate::turn::{Turn, Turns, pause_before_asking_again};
use crate::{Begin, Class, Id, Server, Session, Sessions};

/// How long the way back to the pool may take, the pool's ping included. Then the connection is closed.
const RETURN_DEADLINE: Duration = Duration::from_secs(2);

/// A pool of SeaORM's as a source of sessions.
pub struct Pool {
    connection: DatabaseConnection,
    /// Where SQLite's writers wait for their turn.
    turns: Arc<Turns>,
}

impl Pool {
    /// Takes sessions from this connection's pool.
    #[must_use]
    pub fn new(connection: &DatabaseConnection) -> Self {
        Self { connection: connection.clone(), turns: Arc::default() }
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
    fn server(&self) -> Option<Server> {
        match &self.connection.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => Some(Server::Sqlite),
            _ => None,
        }
    }

    fn identity(&self) -> usize {
        match &self.connection.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                Arc::as_ptr(&self.connection.get_sqlite_connection_pool().connect_options()).addr()
            }
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Arc::as_ptr(&self.connection.get_postgres_connection_pool().connect_options()).addr()
            }
            _ => 0,
        }
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let runtime = Handle::try_current().map_err(|error| DbErr::Custom(error.to_string()))?;
        match &self.connection.inner {
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                let connection =
                    self.connection.get_sqlite_connection_pool().acquire().await.map_err(acquire_error)?;
                Ok(Box::new(Pooled::<sqlx::Sqlite>::new(
                    connection,
                    runtime,
                    Some(Arc::clone(&self.turns)),
                    unnamed,
                )))
            }
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                let connection =
                    self.connection.get_postgres_connection_pool().acquire().await.map_err(acquire_error)?;
                Ok(Box::new(Pooled::<sqlx::Postgres>::new(connection, runtime, None, unnamed)))
            }
            _ => Err(not_a_pool()),
        }
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        #[cfg(feature = "postgres")]
        if let DatabaseConnectionType::SqlxPostgresPoolConnection(_) = &self.connection.inner {
            // What waits for a standby is committed here already: ending it would only make it visible.
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity($1) \
                 WHERE (extract(epoch FROM xact_start) * 1000000)::int8 = $2 AND wait_event IS DISTINCT FROM 'SyncRep'";
            let query = sqlx::query(sql).bind(id.pid).bind(id.started_us).persistent(false);
            return query
                .execute(self.connection.get_postgres_connection_pool())
                .await
                .map(drop)
                .map_err(query_error);
        }
        let _ = id;
        Err(not_a_pool())
    }
}

struct Pooled<DB: sqlx::Database> {
    connection: Option<PoolConnection<DB>>,
    /// Where the connection was acquired: the driver spawns its way back, also from a thread without a runtime.
    runtime: Handle,
    /// SQLite: where writers wait for their turn.
    turns: Option<Arc<Turns>>,
    /// SQLite: this connection's turn to write, until its transaction is over.
    turn: Option<Turn>,
    /// SQLite: whether this connection does not wait for a lock by itself just now.
    impatient: bool,
    unnamed: bool,
    /// SQLite: whether writing is switched off.
    query_only: bool,
}

impl<DB> Pooled<DB>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn new(
        connection: PoolConnection<DB>,
        runtime: Handle,
        turns: Option<Arc<Turns>>,
        unnamed: bool,
    ) -> Self {
        Self {
            connection: Some(connection),
            runtime,
            turns,
            turn: None,
            impatient: false,
            unnamed,
            query_only: false,
        }
    }

    fn connection(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("a session keeps its connection until it is released or dropped")
    }

    async fn send(&mut self, sql: &str) -> Result<(), DbErr> {
        self.connection().execute(AssertSqlSafe(sql.to_owned())).await.map(drop).map_err(query_error)
    }

    /// Begins to write on SQLite when it is this connection's turn.
    async fn begin_in_turn(&mut self, turns: &Arc<Turns>, begin: &str) -> Result<(), DbErr>
    where
        usize: sqlx::ColumnIndex<DB::Row>,
        i64: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    {
        self.turn = Some(turns.turn().await);
        let started = Instant::now();
        let begun = if turns.has_rivals() {
            self.begin_among_rivals(turns, begin).await
        } else {
            let begun = self.send(begin).await;
            turns.began_within(started.elapsed());
            begun
        };
        if begun.is_err() {
            self.turn = None;
        }
        begun
    }

    /// Asks for the lock until it is had. Fails as busy where others keep it for longer than the pool's connections wait.
    async fn begin_among_rivals(&mut self, turns: &Turns, begin: &str) -> Result<(), DbErr>
    where
        usize: sqlx::ColumnIndex<DB::Row>,
        i64: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    {
        let patience = match turns.patience.get() {
            Some(patience) => *patience,
            None => {
                let row = self.connection().fetch_one("PRAGMA busy_timeout").await.map_err(query_error)?;
                let ms: i64 = row.try_get(0).map_err(query_error)?;
                *turns.patience.get_or_init(|| Duration::from_millis(ms.unsigned_abs()))
            }
        };
        let (started, restore) = (Instant::now(), restore(patience));
        let text = format!("PRAGMA busy_timeout = 0; {begin}; {restore}");
        self.impatient = true;
        let begun = loop {
            match self.send(&text).await {
                Err(error) if Class::of(&error) == Class::Conflict && started.elapsed() < patience => {
                    turns.met_rival();
                    pause_before_asking_again().await;
                }
                ended => break ended,
            }
        };
        if begun.is_err() {
            self.send(&restore).await?;
        }
        self.impatient = false;
        begun
    }

    /// A statement as SeaORM built it, as the driver takes it.
    fn bound<'q>(&self, statement: &Statement) -> sqlx::query::Query<'q, DB, SqlxValues>
    where
        DB: sqlx::database::HasStatementCache,
        SqlxValues: IntoArguments<DB>,
    {
        let values = statement.values.clone().unwrap_or(Values(Vec::new()));
        sqlx::query_with(AssertSqlSafe(statement.sql.clone()), SqlxValues(values)).persistent(!self.unnamed)
    }
}

impl<DB: sqlx::Database> Drop for Pooled<DB> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        if self.turns.is_some() {
            // Closing the only connection would lose an in-memory database.
            let patience = self.turns.as_ref().and_then(|turns| turns.patience.get());
            let patience = patience.filter(|_| self.impatient).copied();
            runtime.spawn(clean_and_return(connection, true, patience, self.turn.take()));
        } else {
            drop(connection.detach());
        }
    }
}

/// Rolls back, allows writing again, and returns a SQLite connection to its pool; closes it where that fails.
async fn clean_and_return<DB: sqlx::Database>(
    mut connection: PoolConnection<DB>,
    open: bool,
    patience: Option<Duration>,
    turn: Option<Turn>,
) {
    let cleaned = tokio::time::timeout(5 * RETURN_DEADLINE, async {
        let executor: &mut dyn Any = &mut *connection;
        #[cfg(feature = "sqlite")]
        if let Some(sqlite) = executor.downcast_mut::<sqlx::SqliteConnection>() {
            if open {
                // Without an open transaction it is an error, and no matter.
                let _ = sqlite.execute("ROLLBACK").await;
            }
            let restore = patience.map_or_else(String::new, restore);
            let text = format!("PRAGMA query_only = OFF; {restore}");
            return sqlite.execute(AssertSqlSafe(text)).await.is_ok();
        }
        let _ = (executor, open);
        false
    });
    if cleaned.await.unwrap_or(false) {
        drop(turn);
        let _ = tokio::time::timeout(RETURN_DEADLINE, connection.return_to_pool()).await;
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
    String: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    i32: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    i64: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
{
    async fn version(&mut self) -> Result<String, DbErr> {
        let row = self.connection().fetch_one("SELECT version()").await.map_err(query_error)?;
        row.try_get(0).map_err(query_error)
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Option<Id>, DbErr> {
        match begin {
            Begin::Plain { sql, identified: false } => {
                match self.turns.clone() {
                    Some(turns) => self.begin_in_turn(&turns, sql).await?,
                    None => self.send(sql).await?,
                }
                Ok(None)
            }
            Begin::Plain { sql, identified: true } => {
                let rows =
                    self.connection().fetch_all(AssertSqlSafe(sql.clone())).await.map_err(query_error)?;
                let id = |row: &DB::Row| Ok(Id { pid: row.try_get(0)?, started_us: row.try_get(1)? });
                rows.first().map(id).transpose().map_err(query_error)
            }
            Begin::AtPresent => {
                // Below SERIALIZABLE, which can be the session's default, there is no logical timestamp.
                let ask =
                    "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT cluster_logical_timestamp()::STRING; COMMIT";
                let rows = self.connection().fetch_all(ask).await.map_err(query_error)?;
                let now: Option<String> =
                    rows.first().map(|row| row.try_get(0)).transpose().map_err(query_error)?;
                let now = now.ok_or_else(|| DbErr::RecordNotFound("the cluster's time".to_owned()))?;
                self.send(&format!("BEGIN AS OF SYSTEM TIME {now}")).await.map(|()| None)
            }
            Begin::QueryOnly => {
                self.query_only = true;
                self.send("PRAGMA query_only = ON").await?;
                self.send("BEGIN").await.map(|()| None)
            }
        }
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbErr> {
        self.send(sql).await?;
        if matches!(sql, "COMMIT" | "ROLLBACK") {
            self.turn = None;
        }
        Ok(())
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        let query = self.bound(statement);
        self.connection().execute(query).await.map(Into::into).map_err(exec_error)
    }

    async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        // Where there is a semicolon the server decides whether that is one statement: a prepared text cannot hold two.
        let result = if self.turns.is_none() && sql.contains(';') {
            let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), SqlxValues(Values(Vec::new())))
                .persistent(false);
            self.connection().execute(query).await
        } else {
            self.connection().execute(AssertSqlSafe(sql.to_owned())).await
        };
        result.map(Into::into).map_err(exec_error)
    }

    async fn query_one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let query = self.bound(statement);
        self.connection().fetch_optional(query).await.map(|row| row.map(Into::into)).map_err(query_error)
    }

    async fn query_all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        let query = self.bound(statement);
        let rows = self.connection().fetch_all(query).await.map_err(query_error)?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    fn stream<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        let query = self.bound(statement);
        self.connection().fetch(query).map(|row| row.map(Into::into).map_err(query_error)).boxed()
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        let connection: &mut dyn Any = self.connection();
        #[cfg(feature = "postgres")]
        if let Some(connection) = connection.downcast_mut::<sqlx::PgConnection>() {
            // The driver does not log this one.
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

    async fn is_in_transaction(&mut self) -> Result<bool, DbErr> {
        // The driver does not tell. Inside a transaction BEGIN is an error that changes nothing.
        if self.send("BEGIN").await.is_err() {
            return Ok(true);
        }
        self.send("ROLLBACK").await.map(|()| false)
    }

    fn release(mut self: Box<Self>, close: bool) {
        if close && self.turns.is_none() {
            return;
        }
        let runtime = self.runtime.clone();
        // Before the connection, which is dropped first: the driver spawns then as well.
        let _entered = runtime.enter();
        let Some(mut connection) = self.connection.take() else { return };
        if self.query_only {
            runtime.spawn(clean_and_return(connection, false, None, None));
        } else {
            let back = connection.return_to_pool();
            runtime.spawn(tokio::time::timeout(RETURN_DEADLINE, back));
        }
    }
}

/// Lets a connection of SQLite wait for locks by itself again.
fn restore(patience: Duration) -> String {
    format!("PRAGMA busy_timeout = {}", patience.as_millis())
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
