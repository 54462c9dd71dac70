//! One migrator at a time: sea-orm-migration takes no lock, and two that drop and create at once leave a schema in
//! which a migration is recorded whose table is gone.
//!
//! SQLite and PostgreSQL change a schema inside a transaction, so there one holds the turn and makes the command all
//! or nothing. CockroachDB does not: statements go one by one, while another session holds a row. What is left of a
//! migrator that died is released by the server in either case. The waits are short, for `run` comes again.

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
use crate::run::Task;

/// The table whose one row is the turn on CockroachDB, which has no advisory locks. It stays when all else is
/// dropped: whoever waits, waits on it.
pub(crate) const LOCK_TABLE: &str = "seaql_migrations_lock";

/// How long a rollback is waited for. A server whose client has gone rolls back by itself.
const ROLLBACK_MAX: Duration = Duration::from_secs(2);

/// Waits for the turn, makes one attempt, and passes the turn on.
pub(crate) async fn take<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, DbErr> {
    if database.server == Server::Cockroach {
        let held = answered(HeldRow::take(database)).await?;
        let answer =
            watched(database, &database.connection, task.attempt::<M, _>(&database.connection)).await;
        held.release().await;
        return answer;
    }
    in_transaction::<M>(database, task).await
}

/// Waits for statements that take as long as they take, for as long as the server is at them.
async fn watched<T>(
    database: &Database,
    connection: &impl ConnectionTrait,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let session = Watched::changing_schema();
    session.note(connection, database.server).await?;
    database.watch(&session, work).await?
}

#[expect(
    clippy::disallowed_methods,
    reason = "the schema is not the bank: no part of this can be retried alone"
)]
async fn in_transaction<M: MigratorTrait>(database: &Database, task: &mut Task) -> Result<Report, DbErr> {
    let options = match database.server {
        // READ COMMITTED: a snapshot taken before the wait would not show what was done meanwhile.
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
            // Bounds the waits for tables too: a migration in the queue for a table stops everybody behind it.
            transaction.execute_unprepared("SET LOCAL lock_timeout = 5000").await?;
            // Any number will do that nobody else uses in this database: these are the letters of `seabank`.
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
            // The first error stands; a connection whose rollback fails is dropped by its pool.
            let _ = tokio::time::timeout(ROLLBACK_MAX, transaction.rollback()).await;
            Err(error)
        }
    }
}

/// A session of its own, in an open transaction that has written the row of [`LOCK_TABLE`].
struct HeldRow(PgConnection);

impl HeldRow {
    async fn take(database: &Database) -> Result<Self, DbErr> {
        // With the pool's settings: where writes are buffered until COMMIT the row would not be locked.
        let session = database.connection.get_postgres_connection_pool().acquire().await;
        let mut session =
            session.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?.detach();
        for statement in [
            format!("CREATE TABLE IF NOT EXISTS {LOCK_TABLE} (id INT8 PRIMARY KEY, held_at TIMESTAMPTZ)"),
            // Milliseconds; plain integers are all that v20.x takes. Bounds the wait for the row, and not the schema change
            // before it: since v24.3 a timeout counts while its job is waited for.
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
        // Closing rolls back, and nothing was written that anybody wants.
        let _ = tokio::time::timeout(ROLLBACK_MAX, self.0.close()).await;
    }
}
