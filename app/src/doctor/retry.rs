//! Provokes a conflict to check that it is retried.

use std::sync::Arc;
use std::time::Duration;

use crate::bank::{Counts, Error, Runner};
use database::{Database, Server};
use sea_orm::DbErr;
use sea_orm::sqlx::sqlite::SqlitePoolOptions;
use sea_orm_retry::{Policy, Tx};
use tokio::sync::{Barrier, Notify};

use super::{State, Unseen};
use crate::bank::query::fetch_one;

pub(super) async fn provoked(database: &Database, runner: &Runner) -> Result<State, Unseen> {
    if database.is_standby {
        return Ok(State::ok("nothing to retry: a hot standby takes no writes"));
    }
    let before = runner.counts();
    let (how, since) = match runner.server() {
        Server::Sqlite => locked(database, runner).await?,
        Server::Postgres => (deadlock(runner).await?, runner.counts().since(&before)),
        Server::Cockroach => (asked_for(runner).await?, runner.counts().since(&before)),
    };
    let codes: Vec<String> = since.retries_by_sqlstate.keys().cloned().collect();
    Ok(if since.retries > 0 {
        State::ok(format!("{how} ({}); run again, it was applied", codes.join(", ")))
    } else {
        State::fail(
            "the server did not refuse a provoked conflict",
            "connect to the server itself, without a pooler or proxy",
        )
    })
}

/// A second writer, without a busy timeout, is refused while the first one holds the lock.
async fn locked(database: &Database, runner: &Runner) -> Result<(&'static str, Counts), Error<DbErr>> {
    let options = database.connection.get_sqlite_connection_pool().connect_options();
    let impatient = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with((*options).clone().busy_timeout(Duration::ZERO))
        .into();
    let impatient =
        Runner::of(sea_orm_retry::Runner::new(&impatient, Policy::default()), Server::Sqlite, Some(1));
    let nothing = async |tx: &Tx| fetch_one(tx, "SELECT 1").await.map(drop);
    let holds = Notify::new();
    let hold = runner.run("hold the lock", async |tx: &Tx| {
        nothing(tx).await?;
        holds.notify_one();
        // Bounded: the other may have failed.
        for _ in 0..500 {
            if impatient.counts().attempts > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    });
    let want = async {
        holds.notified().await;
        impatient.run("provoked retry", nothing).await
    };
    let (held, wanted) = tokio::join!(hold, want);
    held.and(wanted)?;
    Ok(("a second writer was refused while the first one held the lock", impatient.counts()))
}

/// Two transactions with advisory locks: the server ends one.
async fn deadlock(runner: &Runner) -> Result<&'static str, Error<DbErr>> {
    let both_hold_one = Arc::new(Barrier::new(2));
    let locks: [i64; 2] = [rand::random(), rand::random()];
    let one = async |first: i64, second: i64| {
        runner
            .run("provoked retry", async |tx: &Tx| {
                lock(tx, first).await?;
                if tx.attempt() == 1 {
                    // Bounded: the other may have failed.
                    let _ = tokio::time::timeout(Duration::from_secs(5), both_hold_one.wait()).await;
                }
                lock(tx, second).await
            })
            .await
    };
    let (there, back) = tokio::join!(one(locks[0], locks[1]), one(locks[1], locks[0]));
    there.and(back)?;
    Ok("one of two transactions that waited for each other was ended")
}

async fn lock(tx: &Tx, number: i64) -> Result<(), DbErr> {
    fetch_one(tx, &format!("SELECT pg_advisory_xact_lock({number})")).await.map(drop)
}

/// The first SELECT keeps the server from retrying by itself.
async fn asked_for(runner: &Runner) -> Result<&'static str, Error<DbErr>> {
    runner
        .run("provoked retry", async |tx: &Tx| {
            fetch_one(tx, "SELECT 1").await?;
            if tx.attempt() == 1 {
                fetch_one(tx, "SELECT crdb_internal.force_retry('1h')").await?;
            }
            Ok(())
        })
        .await?;
    Ok("a transaction was refused")
}
