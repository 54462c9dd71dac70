//! One connection of a pool, and the text of BEGIN on each server: what the runner needs of a database, and no more.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use database::{Database, SESSION_ID, Server};
use sea_orm::{ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, IntoArguments, PgConnection, Postgres, Row, Sqlite};

/// How a transaction begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// To read and write, SERIALIZABLE.
    Write,
    /// The same, before which an earlier attempt may still hold locks: on CockroachDB at high priority, which aborts it.
    WriteOverOrphan,
    /// To read one snapshot, without locks.
    Snapshot,
    /// The same, of so long ago. On CockroachDB only.
    Past(Duration),
}

/// One connection that nobody else uses. **Dropping it closes it**, with whatever is open on it; only
/// [`release`](Session::release) gives it back for others to use.
#[async_trait]
pub trait Session: Send {
    /// Begins a transaction, in one round trip. Answers with what [`Sessions::end_orphan`] needs to end it from
    /// another session, on servers where that can be done.
    async fn begin(&mut self, how: &Begin) -> Result<Option<String>, DbErr>;
    /// Sends transaction control: COMMIT, ROLLBACK, savepoints.
    async fn control(&mut self, sql: &str) -> Result<(), DbErr>;
    /// Runs a statement for its count of rows.
    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr>;
    /// Runs a text without parameters and without preparing it.
    async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr>;
    /// Runs a statement for its first row.
    async fn query_one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr>;
    /// Runs a statement for all its rows.
    async fn query_all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr>;
    /// Runs `COPY … FROM STDIN` with all of its rows, in the format that the statement names; answers with how many
    /// those were.
    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr>;
    /// Gives the connection back to its pool. No transaction may be open on it.
    fn release(self: Box<Self>);
}

/// Where sessions come from: a [`Database`], or a pretended server in a simulation.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Who answers.
    fn server(&self) -> Server;
    /// How many there can be at once, where there is a limit.
    fn connections_max(&self) -> Option<u32> {
        None
    }
    /// Takes a connection, opening one where none is idle.
    async fn acquire(&self) -> Result<Box<dyn Session>, DbErr>;
    /// Takes back a connection on which no transaction is open.
    fn release(&self, session: Box<dyn Session>) {
        session.release();
    }
    /// Ends the session that [`Session::begin`] described, if it still lives. On PostgreSQL only.
    async fn end_orphan(&self, session: &str) -> Result<(), DbErr>;
}

#[async_trait]
impl Sessions for Database {
    fn server(&self) -> Server {
        self.server
    }

    fn connections_max(&self) -> Option<u32> {
        Some(match self.server {
            Server::Sqlite => self.connection.get_sqlite_connection_pool().options().get_max_connections(),
            Server::Postgres | Server::Cockroach => {
                self.connection.get_postgres_connection_pool().options().get_max_connections()
            }
        })
    }

    async fn acquire(&self) -> Result<Box<dyn Session>, DbErr> {
        Ok(match self.server {
            Server::Sqlite => Box::new(Pooled::<Sqlite>::new(
                self.server,
                self.connection.get_sqlite_connection_pool().acquire().await.map_err(acquire_error)?,
            )),
            Server::Postgres | Server::Cockroach => Box::new(Pooled::<Postgres>::new(
                self.server,
                self.connection.get_postgres_connection_pool().acquire().await.map_err(acquire_error)?,
            )),
        })
    }

    async fn end_orphan(&self, session: &str) -> Result<(), DbErr> {
        let (pid, started) = session.split_once('/').unwrap_or((session, ""));
        // A process id is used again: the time of its start says whether it is still the same.
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity($1::int4) \
             WHERE extract(epoch FROM backend_start)::text = $2",
        )
        .bind(pid.parse::<i32>().unwrap_or_default())
        .bind(started)
        .execute(self.connection.get_postgres_connection_pool())
        .await
        .map(drop)
        .map_err(query_error)
    }
}

struct Pooled<DB: sqlx::Database> {
    server: Server,
    connection: Option<PoolConnection<DB>>,
    /// What [`Session::begin`] answers with, once it has been asked.
    id: Option<String>,
}

impl<DB: sqlx::Database> Pooled<DB> {
    fn new(server: Server, connection: PoolConnection<DB>) -> Self {
        Self { server, connection: Some(connection), id: None }
    }

    fn connection(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("a session keeps its connection until it is released or dropped")
    }
}

impl<DB: sqlx::Database> Drop for Pooled<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

#[async_trait]
impl<DB> Session for Pooled<DB>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    ExecResult: From<DB::QueryResult>,
    QueryResult: From<DB::Row>,
    usize: sqlx::ColumnIndex<DB::Row>,
    String: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
{
    async fn begin(&mut self, how: &Begin) -> Result<Option<String>, DbErr> {
        let sql = match (self.server, how) {
            (Server::Sqlite, Begin::Write | Begin::WriteOverOrphan) => "BEGIN IMMEDIATE",
            (Server::Sqlite, Begin::Snapshot) => "BEGIN",
            (Server::Cockroach, Begin::Write) => "BEGIN",
            (Server::Cockroach, Begin::WriteOverOrphan) => "BEGIN PRIORITY HIGH",
            (Server::Cockroach, Begin::Snapshot) => return self.begin_at_present().await,
            (_, Begin::Past(ago)) => {
                let sql = format!("BEGIN AS OF SYSTEM TIME '-{}ms'", ago.as_millis());
                return self.control(&sql).await.map(|()| None);
            }
            (Server::Postgres, Begin::Snapshot) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            (Server::Postgres, Begin::Write | Begin::WriteOverOrphan) if self.id.is_none() => {
                // Two statements, one round trip; SHOW takes no snapshot.
                let sql = format!("BEGIN; SHOW {SESSION_ID}");
                let rows = self.connection().fetch_all(AssertSqlSafe(sql)).await.map_err(query_error)?;
                self.id = rows.first().map(|row| row.try_get(0)).transpose().map_err(query_error)?;
                return Ok(self.id.clone());
            }
            (Server::Postgres, Begin::Write | Begin::WriteOverOrphan) => "BEGIN",
        };
        self.control(sql).await.map(|()| self.id.clone())
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbErr> {
        self.connection().execute(AssertSqlSafe(sql.to_owned())).await.map(drop).map_err(query_error)
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.connection().execute(bound(statement)).await.map(Into::into).map_err(exec_error)
    }

    async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        self.connection().execute(AssertSqlSafe(sql.to_owned())).await.map(Into::into).map_err(exec_error)
    }

    async fn query_one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        self.connection()
            .fetch_optional(bound(statement))
            .await
            .map(|row| row.map(Into::into))
            .map_err(query_error)
    }

    async fn query_all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        let rows = self.connection().fetch_all(bound(statement)).await.map_err(query_error)?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        let connection: &mut dyn Any = self.connection();
        let Some(connection) = connection.downcast_mut::<PgConnection>() else {
            return Err(DbErr::Custom(format!("{} has no COPY", self.server)));
        };
        // The driver does not log this one.
        database::log_statement(statement);
        let mut copy = connection.copy_in_raw(statement).await.map_err(exec_error)?;
        copy.send(rows).await.map_err(exec_error)?;
        copy.finish().await.map_err(exec_error)
    }

    fn release(mut self: Box<Self>) {
        drop(self.connection.take());
    }
}

impl<DB> Pooled<DB>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
    String: for<'r> sqlx::Decode<'r, DB> + sqlx::Type<DB>,
{
    /// CockroachDB: a transaction at a fixed time takes no locks and pushes no writer. The time is the server's
    /// present, so what was committed through this server before is in it.
    async fn begin_at_present(&mut self) -> Result<Option<String>, DbErr> {
        let row = self
            .connection()
            .fetch_one("SELECT cluster_logical_timestamp()::STRING")
            .await
            .map_err(query_error)?;
        let now: String = row.try_get(0).map_err(query_error)?;
        let sql = format!("BEGIN AS OF SYSTEM TIME {now}");
        self.connection().execute(AssertSqlSafe(sql)).await.map(|_| None).map_err(query_error)
    }
}

/// A statement as SeaORM built it, as the driver takes it.
fn bound<DB>(statement: &Statement) -> sqlx::query::Query<'_, DB, SqlxValues>
where
    DB: sqlx::Database,
    SqlxValues: IntoArguments<DB>,
{
    let values = statement.values.clone().unwrap_or(sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
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
