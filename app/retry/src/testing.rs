//! A conformance suite that any pool can be put through: whether the closure keeps its promises
//! there.
//!
//! ```no_run
//! # async fn f() -> Result<(), sea_orm::DbErr> {
//! let db = sea_orm::Database::connect("postgres://localhost/scratch").await?;
//! let runner = sea_orm_retry::Runner::new(&db, sea_orm_retry::Policy::default());
//! sea_orm_retry::testing::conformance(&db, &runner).await
//! # }
//! ```

mod lossy;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionSession, TransactionTrait};
use tokio::sync::Barrier;

use crate::{Ended, Kind, Policy, Runner, Tx};
use lossy::Lossy;

pub use crate::pool::Pool;
pub use crate::server::Version;
pub use crate::session::{Id, Rows, Session, Sessions};

impl Runner {
    /// A runner on another source of sessions, for example a simulated server.
    pub fn on(sessions: impl Sessions + 'static, policy: Policy) -> Self {
        Self::on_sessions(Arc::new(sessions), policy)
    }

    /// The same runner with pauses from a seed, for reproducible simulations.
    #[must_use]
    pub fn with_jitter_seed(self, seed: u64) -> Self {
        Self { jitter: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))), ..self }
    }
}

/// Runs every check on a pool of at least two connections, under the runner's policy. Makes the
/// table `sea_orm_retry_conformance` and drops it.
///
/// # Errors
///
/// The first check that does not hold, in words; or the database's own error.
pub async fn conformance(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    connection.execute_unprepared("DROP TABLE IF EXISTS sea_orm_retry_conformance").await?;
    let create = "CREATE TABLE sea_orm_retry_conformance (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)";
    connection.execute_unprepared(create).await?;
    let held = checks(connection, runner).await;
    connection.execute_unprepared("DROP TABLE sea_orm_retry_conformance").await?;
    held
}

async fn checks(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    write_skew(connection, runner).await?;
    lost_update(connection, runner).await?;
    swallowed_error(connection, runner).await?;
    lost_commit(connection, runner).await?;
    nested_get_or_create(connection, runner).await
}

async fn number(connection: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)
}

const COUNT: &str = "SELECT count(*) FROM sea_orm_retry_conformance";
const VALUE: &str = "SELECT value FROM sea_orm_retry_conformance WHERE id = 1";

async fn insert(connection: &impl ConnectionTrait, id: i64) -> Result<(), DbErr> {
    let sql = format!("INSERT INTO sea_orm_retry_conformance VALUES ({id}, 0)");
    connection.execute_unprepared(&sql).await.map(drop)
}

async fn begin_anew(connection: &DatabaseConnection) -> Result<(), DbErr> {
    connection.execute_unprepared("DELETE FROM sea_orm_retry_conformance").await.map(drop)
}

fn holds(holds: bool, otherwise: &str) -> Result<(), DbErr> {
    if holds { Ok(()) } else { Err(DbErr::Custom(otherwise.to_owned())) }
}

/// Each of two transactions counts the rows and adds one. In a serial order, only one counts none.
async fn write_skew(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    begin_anew(connection).await?;
    let both_have_read = Barrier::new(2);
    let add = async |id: i64| {
        let both_have_read = &both_have_read;
        let body = async move |tx: &Tx| {
            let count = number(tx, COUNT).await?;
            if tx.attempt() == 1 {
                // SQLite's writers take turns from BEGIN on, so the other has not begun.
                let _ = tokio::time::timeout(Duration::from_millis(300), both_have_read.wait()).await;
            }
            insert(tx, id).await.map(|()| count)
        };
        runner.run("write skew", body).await
    };
    let (one, other) = tokio::join!(add(1), add(2));
    let (one, other): (i64, i64) = (one?, other?);
    holds(one + other == 1, "write skew: two transactions each saw a table without the other's row")
}

/// Many concurrent transactions read a value, increment it in the program, and write it back.
async fn lost_update(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    const WORKERS: i64 = 4;
    const TIMES: i64 = 10;
    begin_anew(connection).await?;
    insert(connection, 1).await?;
    let worker = async || {
        for _ in 0..TIMES {
            let body = async |tx: &Tx| {
                let value = number(tx, VALUE).await? + 1;
                let update = format!("UPDATE sea_orm_retry_conformance SET value = {value} WHERE id = 1");
                tx.execute_unprepared(&update).await.map(drop)
            };
            runner.run("lost update", body).await?;
        }
        Ok::<_, DbErr>(())
    };
    futures_util::future::try_join_all((0..WORKERS).map(|_| worker())).await?;
    holds(number(connection, VALUE).await? == WORKERS * TIMES, "lost update: a counter lost an addition")
}

/// A body that ignores a failed statement is not applied.
async fn swallowed_error(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    begin_anew(connection).await?;
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        let _ = insert(tx, 1).await;
        Ok::<_, DbErr>(())
    };
    let told = runner.run("swallowed error", body).await;
    let failed = told.is_err_and(|error| Ended::of(&error).is_some_and(|ended| ended.kind() == Kind::Failed));
    holds(
        failed && number(connection, COUNT).await? == 0,
        "swallowed error: it was reported applied, or it is",
    )
}

/// The connection is lost during COMMIT, before or after the server receives it. A body that is not
/// idempotent is not retried; an idempotent body is applied once.
async fn lost_commit(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    for delivered in [true, false] {
        let lossy = || Runner::on(Lossy::new(connection, delivered), runner.policy().clone());
        begin_anew(connection).await?;
        let told = lossy().run("lost commit", async |tx: &Tx| insert(tx, 1).await).await;
        let unknown = told.is_err_and(|error| Ended::of(&error).is_some_and(Ended::may_be_applied));
        holds(unknown, "lost COMMIT: `run` reported an outcome, or retried the body")?;
        let applied = i64::from(delivered);
        holds(number(connection, COUNT).await? == applied, "lost COMMIT: it was not sent, or sent again")?;

        begin_anew(connection).await?;
        insert(connection, 1).await?;
        let attempts = lossy().run_idempotent("lost commit", increment_once).await?;
        let once = number(connection, VALUE).await? == 1 && number(connection, COUNT).await? == 2;
        holds(attempts == 2 && once, "lost COMMIT: `run_idempotent` did not apply it exactly once")?;
    }
    Ok(())
}

/// Inserts id 2 and increments the value of id 1. Returns the attempt's number.
async fn increment_once(tx: &Tx) -> Result<u32, DbErr> {
    let own = "INSERT INTO sea_orm_retry_conformance VALUES (2, 0) ON CONFLICT DO NOTHING";
    if tx.execute_unprepared(own).await?.rows_affected() == 0 {
        tx.proved_applied();
    } else {
        tx.proved_not_applied();
        tx.execute_unprepared("UPDATE sea_orm_retry_conformance SET value = value + 1 WHERE id = 1").await?;
    }
    Ok(tx.attempt())
}

/// Get-or-create by catching a unique violation in a nested transaction.
async fn nested_get_or_create(connection: &DatabaseConnection, runner: &Runner) -> Result<(), DbErr> {
    begin_anew(connection).await?;
    let created = AtomicU32::new(0);
    for expected in [1, 1] {
        let body = async |tx: &Tx| {
            let nested = begin(tx).await?;
            match insert(&nested, 1).await {
                Ok(()) => {
                    created.fetch_add(1, Ordering::Relaxed);
                    nested.commit().await?;
                }
                Err(_) => nested.rollback().await?,
            }
            number(tx, COUNT).await
        };
        let count = runner.run("get or create", body).await?;
        holds(
            count == expected,
            "nested transaction: what was undone is there, or what was committed is not",
        )?;
    }
    holds(created.into_inner() == 1, "nested transaction: a unique violation was not seen")
}

#[expect(clippy::disallowed_methods, reason = "a nested begin is a savepoint")]
async fn begin(tx: &Tx) -> Result<Tx, DbErr> {
    tx.begin().await
}
