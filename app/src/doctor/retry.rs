//! A retry provoked on purpose, and survived: the whole way from the server's error to the second attempt.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Server};
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::Barrier;
use transaction::{Error, Runner, Tx};

use super::{State, Unseen, row};

/// Lets the server refuse a first attempt, and sees the second end well.
pub(super) async fn provoked(database: &Database, runner: &Runner) -> Result<State, Unseen> {
    let before = runner.counts();
    let how = match runner.server() {
        Server::Sqlite => outdated(database, runner).await?,
        Server::Postgres => deadlock(runner).await?,
        Server::Cockroach => asked_for(runner).await?,
    };
    let since = runner.counts().since(&before);
    let codes: Vec<String> = since.retries_by_sqlstate.keys().cloned().collect();
    Ok(if since.retries > 0 {
        State::ok(format!("{how} ({}); run again, it was applied", codes.join(", ")))
    } else {
        State::fail(
            "the server did not refuse what it should have refused",
            "let nothing in between answer for the server",
        )
    })
}

/// A snapshot that somebody has written after can only be read. What is written is what was there.
async fn outdated(database: &Database, runner: &Runner) -> Result<&'static str, Error<DbErr>> {
    runner
        .read("provoked retry", async |tx: &Tx| {
            let version: i64 = row(tx, "PRAGMA user_version").await?.try_get_by_index(0)?;
            if tx.attempt() == 1 {
                let same = format!("PRAGMA user_version = {version}");
                database.connection.execute_unprepared(&same).await?;
                tx.execute_unprepared(&same).await?;
            }
            Ok(())
        })
        .await?;
    Ok("a transaction had to write over a snapshot that was out of date")
}

/// Two transactions that wait for each other: the server ends one. The locks are of numbers, not of rows.
async fn deadlock(runner: &Runner) -> Result<&'static str, Error<DbErr>> {
    let both_hold_one = Arc::new(Barrier::new(2));
    let locks: [i64; 2] = [rand::random(), rand::random()];
    let one = async |first: i64, second: i64| {
        runner
            .run("provoked retry", async |tx: &Tx| {
                lock(tx, first).await?;
                if tx.attempt() == 1 {
                    // Not for ever: the other may have ended of something else.
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
    row(tx, &format!("SELECT pg_advisory_xact_lock({number})")).await.map(drop)
}

/// CockroachDB has a function for it. Once an answer has gone out it cannot try again by itself.
async fn asked_for(runner: &Runner) -> Result<&'static str, Error<DbErr>> {
    runner
        .run("provoked retry", async |tx: &Tx| {
            row(tx, "SELECT 1").await?;
            if tx.attempt() == 1 {
                row(tx, "SELECT crdb_internal.force_retry('1h')").await?;
            }
            Ok(())
        })
        .await?;
    Ok("a transaction was refused")
}
