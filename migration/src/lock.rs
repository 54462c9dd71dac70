//! The migration lock. sea-orm-migration has none, and a concurrent drop and create can leave a
//! migration recorded whose table is gone.
//!
//! On SQLite and PostgreSQL one transaction is the lock and makes the command atomic. On
//! CockroachDB statements are autocommitted while a second session holds a row lock. The server
//! releases a dead migrator's lock. Waits are short, because `run` retries.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Server, Watched, answered, log_statement};
use sea_orm_migration::MigratorTrait;
use sea_orm_migration::sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use sea_orm_migration::sea_orm::{
    ConnectionTrait, DbErr, IsolationLevel, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use crate::Report;
use crate::command::Task;
use crate::tables::LOCK_TABLE;

const ROLLBACK_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn attempt<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, DbErr> {
    if database.server == Server::Cockroach {
        let held = answered(RowLock::take(database)).await?;
        let answer =
            watched(database, &database.connection, task.attempt::<M, _>(&database.connection)).await;
        held.release().await;
        return answer;
    }
    in_transaction::<M>(database, task).await
}

/// Waits without a time limit while the server executes the statements.
async fn watched<T>(
    database: &Database,
    connection: &impl ConnectionTrait,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let session = Watched::changing_schema();
    session.note(connection, database.server).await?;
    database.watch(&session, work).await?
}

#[expect(clippy::disallowed_methods, reason = "a schema change is retried as a whole, by `run`")]
async fn in_transaction<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, DbErr> {
    let options = match database.server {
        // A snapshot taken before the lock would not show what the previous migrator did.
        Server::Postgres | Server::Cockroach => TransactionOptions {
            isolation_level: Some(IsolationLevel::ReadCommitted),
            ..TransactionOptions::default()
        },
        Server::Sqlite => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        },
    };
    log_statement(if database.server == Server::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" });
    let transaction = answered(database.connection.begin_with_options(options)).await?;
    let attempt = async {
        if database.server == Server::Postgres {
            // Also for table locks: a queued schema change blocks later queries.
            transaction.execute_unprepared("SET LOCAL lock_timeout = 5000").await?;
            // An arbitrary key: the letters of `seabank`.
            transaction.execute_unprepared("SELECT pg_advisory_xact_lock(32481091258510955)").await?;
        }
        task.attempt::<M, _>(&transaction).await
    };
    match watched(database, &transaction, attempt).await {
        Ok(report) => {
            log_statement("COMMIT");
            answered(transaction.commit()).await.map(|()| report)
        }
        Err(error) => {
            log_statement("ROLLBACK");
            // The pool discards a connection whose rollback failed.
            let _ = tokio::time::timeout(ROLLBACK_MAX, transaction.rollback()).await;
            Err(error)
        }
    }
}

/// A session with an open transaction that wrote [`LOCK_TABLE`]'s row.
struct RowLock(PgConnection);

impl RowLock {
    async fn take(database: &Database) -> Result<Self, DbErr> {
        // With the pool's settings: buffered writes would not lock the row.
        let session = database.connection.get_postgres_connection_pool().acquire().await;
        let mut session =
            session.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?.detach();
        for statement in [
            format!("CREATE TABLE IF NOT EXISTS {LOCK_TABLE} (id INT8 PRIMARY KEY, held_at TIMESTAMPTZ)"),
            // Milliseconds: v20.x takes no units. After CREATE TABLE, because since v24.3 the
            // timeout covers the schema change's job.
            "SET statement_timeout = 5000".to_owned(),
            "BEGIN".to_owned(),
            format!("UPSERT INTO {LOCK_TABLE} (id, held_at) VALUES (1, now())"),
        ] {
            session
                .execute(AssertSqlSafe(statement))
                .await
                .map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error))))?;
        }
        Ok(Self(session))
    }

    async fn release(self) {
        // Closing rolls back.
        let _ = tokio::time::timeout(ROLLBACK_MAX, self.0.close()).await;
    }
}
