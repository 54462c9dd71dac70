//! A transaction's connection: returned, cancelled, lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use database::{Address, Options, Server, connect};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Tx};
use seabank::bank::{Error, Runner};
use tests::{Loss, Tap, TestServer};
use tokio::sync::Barrier;

use super::{Log, insert};
use crate::books::tapped;

/// An open transaction left in the pool would hide the next borrower's autocommitted insert.
pub(super) async fn a_cancelled_begin_leaks_nothing(server: &TestServer) {
    const TIMES: i64 = 300;
    let log = Log::new(server).await;
    let elsewhere = log._bank.connect().await;
    let mut begun = 0;
    for id in 0..TIMES {
        let cancelled = log.runner.run("cancelled", async |_: &Tx| Ok::<_, DbErr>(()));
        // A timer's 1 ms is too long for a file: half are cancelled at the first wait.
        let patience = async {
            if id % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(u64::try_from(id).expect("small") * 10)).await;
            }
        };
        begun += tokio::select! { biased; _ = cancelled => 1, () = patience => 0 };
        let insert = format!("INSERT INTO log (id) VALUES ({id})");
        log.database.connection.execute_unprepared(&insert).await.expect("the pool is usable");
        assert_eq!(
            tests::scalar(&elsewhere, "SELECT count(*) FROM log").await,
            id + 1,
            "insert {id} is not seen"
        );
    }
    assert!(begun < TIMES, "no begin was cancelled");
}

pub(super) async fn a_run_dropped_in_its_body_frees_its_locks(server: &TestServer) {
    let log = Log::new(server).await;
    log.runner.run("insert", async |tx| insert(tx, 1).await).await.expect("a free id");
    let update = "UPDATE log SET note = note + 1 WHERE id = 1";
    let reached = tokio::sync::Notify::new();
    let holding = log.runner.run("hold", async |tx| {
        tx.execute_unprepared(update).await?;
        reached.notify_one();
        std::future::pending::<Result<(), DbErr>>().await
    });
    tokio::select! {
        _ = holding => unreachable!("it never ends"),
        () = reached.notified() => {}
    }
    let after = log.runner.run("after", async |tx| tx.execute_unprepared(update).await.map(drop));
    tokio::time::timeout(Duration::from_secs(20), after).await.expect("the lock is free").expect("applied");
    assert_eq!(tests::scalar(&log.database, "SELECT note FROM log").await, 1);
}

pub(super) async fn after_an_error_the_connection_is_used_again(server: &TestServer) {
    let log = Log::new(server).await;
    let one = log._bank.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    let runner = Runner::new(&one, Policy::default());
    // A temporary table exists as long as its connection.
    let mark = match server.server {
        Server::Sqlite => "CREATE TEMP TABLE mark (id BIGINT)",
        Server::Postgres | Server::Cockroach => "SET application_name = 'marked'",
    };
    one.connection.execute_unprepared(mark).await.expect("the connection can be marked");
    for id in [1, 1, 1] {
        let body = async |tx: &Tx| {
            insert(tx, id).await?;
            insert(tx, id).await
        };
        runner.run("twice", body).await.expect_err("the id is taken");
    }
    let marked = match server.server {
        Server::Sqlite => "SELECT count(*) FROM sqlite_temp_master WHERE name = 'mark'",
        Server::Postgres | Server::Cockroach => {
            "SELECT CASE WHEN current_setting('application_name') = 'marked' THEN 1 ELSE 0 END"
        }
    };
    assert_eq!(tests::scalar(&one, marked).await, 1);
}

pub(super) async fn a_connection_lost_in_the_body_is_retried(server: &TestServer) {
    let log = Log::new(server).await;
    let tries = AtomicU32::new(0);
    log.runner
        .run("suicide", async |tx| {
            insert(tx, 1).await?;
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                tx.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await?;
            }
            Ok::<_, DbErr>(())
        })
        .await
        .expect("the second attempt has a new connection");
    assert_eq!((tries.into_inner(), log.count().await), (2, 1));
}

/// As after a lost node.
pub(super) async fn connections_that_broke_while_idle_cost_no_attempt(server: &TestServer) {
    const CONNECTIONS: u32 = 8;
    let test = server.empty_database().await;
    let proxy = test.proxy().await;
    let address = Address::parse(&proxy.url(test.url())).expect("a URL");
    let options = Options { max_connections: CONNECTIONS, ..Options::default() };
    let database = connect(&address, &options).await.expect("the proxy's target answers");
    let runner = Runner::new(&database, Policy::default());
    let all_at_once = Barrier::new(CONNECTIONS as usize);
    let meet = async || {
        let body = async |_: &Tx| {
            all_at_once.wait().await;
            Ok::<_, DbErr>(())
        };
        runner.run("meet", body).await
    };
    for met in join_all((0..CONNECTIONS).map(|_| meet())).await {
        met.expect("each has a connection");
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(database.connection.get_postgres_connection_pool().num_idle(), CONNECTIONS as usize);
    proxy.cut_idle();
    // Lets the proxy cut.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let select = runner.run("select", async |tx| tx.execute_unprepared("SELECT 1").await.map(drop)).await;
    select.expect("a new connection does");
    assert_eq!(runner.counts().retries, 0);
}

pub(super) async fn a_lost_answer_to_commit_is_unknown(server: &TestServer) {
    for (loss, rows) in [(Loss::AfterCommit, 1), (Loss::BeforeCommit, 0)] {
        let log = Log::new(server).await;
        let runner = tapped(&Tap::new(&log.database).losing(&[loss]), Policy::default());
        let error = runner.run("insert", async |tx| insert(tx, 1).await).await.expect_err("unknown");
        assert!(matches!(error, Error::Unknown { .. }), "{loss:?}: {error}");
        assert_eq!((error.attempts().len(), runner.counts().unknown), (1, 1), "not retried");
        assert_eq!(log.count().await, rows, "{loss:?}");
    }
}

pub(super) async fn a_read_survives_a_lost_answer(server: &TestServer) {
    let log = Log::new(server).await;
    let runner = tapped(&Tap::new(&log.database).losing(&[Loss::BeforeCommit]), Policy::default());
    let count = runner.read("count", async |tx| tests::scalar_in(tx, "SELECT count(*) FROM log").await).await;
    assert_eq!(count.expect("the answer is known"), 0);
    assert_eq!(runner.counts().retries_by_sqlstate["no answer"], 1);
}
