//! Orphaned transactions of lost connections, and COMMITs whose answer is lost.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx};
use tests::{Fault, Test, TestServer, tests};

use super::{Log, POSTGRES, WIRE, insert, open};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_orphan_is_ended_before_the_next_attempt on WIRE,
        an_orphan_is_ended_by_its_own_limit on POSTGRES,
        a_lost_answer_to_commit_is_unknown on WIRE,
        an_idempotent_body_resolves_a_lost_commit on WIRE,
    ]
}

async fn an_orphan_is_ended_before_the_next_attempt(server: &TestServer) {
    an_orphan_is_ended(server, Policy::default()).await;
}

/// Only the timeout that BEGIN sets ends it.
async fn an_orphan_is_ended_by_its_own_limit(server: &TestServer) {
    an_orphan_is_ended(server, Policy { end_orphans: false, ..Policy::default() }).await;
}

/// It holds the row lock that the next attempt needs.
async fn an_orphan_is_ended(server: &TestServer, policy: Policy) {
    let log = Log::new(server, 1).await;
    insert(&log.db, 1).await.expect("a free id");
    let proxy = log.test.proxy().await;
    let db = open(&proxy.url(log.test.url()), 2).await;
    let policy = Policy { answer_deadline: Duration::from_secs(2), ..policy };
    let mut struck = false;
    proxy.arm(move |request| {
        let strikes = !struck && request.text.contains("INSERT");
        struck |= strikes;
        strikes.then_some(Fault::Silent { delivered: false })
    });
    let started = Instant::now();
    let body = async |tx: &Tx| {
        tx.execute_unprepared("UPDATE log SET note = note + 1 WHERE id = 1").await?;
        insert(tx, 2).await
    };
    Runner::new(&db, policy).run("lost", body).await.expect("the second attempt");
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    assert_eq!(super::scalar(&log.db, "SELECT note FROM log WHERE id = 1").await, Ok(1));
    proxy.settle().await;
}

async fn a_lost_answer_to_commit_is_unknown(server: &TestServer) {
    for delivered in [true, false] {
        let log = Log::new(server, 1).await;
        let proxy = log.test.proxy().await;
        let db = open(&proxy.url(log.test.url()), 2).await;
        let policy = Policy { answer_deadline: Duration::from_secs(1), ..Policy::default() };
        proxy.arm(move |request| (request.text == "COMMIT").then_some(Fault::Silent { delivered }));
        let told = Runner::new(&db, policy).run("lost", async |tx: &Tx| insert(tx, 1).await).await;
        let error = told.expect_err("unanswered");
        let ended = Ended::of(&error).expect("an Ended");
        assert_eq!(
            (ended.kind(), ended.may_be_applied(), ended.attempts().len()),
            (Kind::Unknown, true, 1),
            "{error}"
        );
        proxy.settle().await;
        assert_eq!(log.count().await, i64::from(delivered));
    }
}

async fn an_idempotent_body_resolves_a_lost_commit(server: &TestServer) {
    for delivered in [true, false] {
        let log = Log::new(server, 1).await;
        let proxy = log.test.proxy().await;
        let db = open(&proxy.url(log.test.url()), 2).await;
        let policy = Policy { answer_deadline: Duration::from_secs(2), ..Policy::default() };
        let mut struck = false;
        proxy.arm(move |request| {
            let strikes = !struck && request.text == "COMMIT";
            struck |= strikes;
            strikes.then_some(Fault::Silent { delivered })
        });
        let body = async |tx: &Tx| {
            let written =
                tx.execute_unprepared("INSERT INTO log (id) VALUES (7) ON CONFLICT DO NOTHING").await?;
            if written.rows_affected() == 0 {
                tx.proved_applied();
            } else {
                tx.proved_not_applied();
            }
            Ok::<_, DbErr>(tx.attempt())
        };
        assert_eq!(
            Runner::new(&db, policy).run_idempotent("lost", body).await,
            Ok(2),
            "delivered: {delivered}"
        );
        assert_eq!(log.count().await, 1);
        proxy.settle().await;
    }
}
