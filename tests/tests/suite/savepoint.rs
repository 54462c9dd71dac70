//! CockroachDB's savepoint protocol, and its refusal where RELEASE does not commit.

use std::sync::atomic::{AtomicU32, Ordering};

use database::Server;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Tx};
use seabank::bank::Error;
use tests::{Tap, Test, TestServer, tests};

use crate::books::tapped;
use crate::transaction::{Log, insert, serialization_failure};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        savepoints_are_refused_elsewhere on &[Server::Sqlite, Server::Postgres],
        the_savepoint_protocol_sends_what_the_tutorial_logs on &[Server::Cockroach],
        savepoint_restarts_keep_their_order on &[Server::Cockroach],
    ]
}

fn with_savepoint() -> Policy {
    Policy { savepoint_restarts: Some(2), ..Policy::default() }
}

async fn savepoints_are_refused_elsewhere(server: &TestServer) {
    let log = Log::under(server, with_savepoint()).await;
    let error = log.runner.run("insert", async |tx| insert(tx, 1).await).await.expect_err("not CockroachDB");
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(log.count().await, 0);
}

async fn the_savepoint_protocol_sends_what_the_tutorial_logs(server: &TestServer) {
    let log = Log::new(server).await;
    let tap = Tap::new(&log.database);
    let insert = async |tx: &Tx| insert(tx, 1).await;
    tapped(&tap, with_savepoint()).run("log", insert).await.expect("a free id");
    let sent: Vec<String> = tap.sent().into_iter().map(|statement| statement.sql).collect();
    assert_eq!(
        sent,
        [
            "BEGIN",
            "SAVEPOINT cockroach_restart",
            "INSERT INTO log (id) VALUES (1)",
            "RELEASE SAVEPOINT cockroach_restart",
            "COMMIT"
        ]
    );
    assert_eq!(log.count().await, 1);
}

async fn savepoint_restarts_keep_their_order(server: &TestServer) {
    let log = Log::new(server).await;
    let tap = Tap::new(&log.database);
    let tries = AtomicU32::new(0);
    tapped(&tap, with_savepoint())
        .run("restart", async |tx| {
            insert(tx, 1).await?;
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                tx.execute_unprepared(serialization_failure(server.server)).await?;
            }
            Ok::<_, DbErr>(())
        })
        .await
        .expect("restarted once");
    assert_eq!(
        tap.verbs(),
        ["BEGIN", "SAVEPOINT", "INSERT", "SELECT", "ROLLBACK", "INSERT", "RELEASE", "COMMIT"]
    );
    assert_eq!(log.count().await, 1);
}
