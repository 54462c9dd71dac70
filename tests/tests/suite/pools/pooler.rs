//! Pools behind PgBouncer, in transaction and session mode.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, StreamTrait, TransactionSession};
use sea_orm::{TransactionTrait, Value};
use sea_orm_retry::{Ended, Kind, Policy, Runner, Tx, sqlstate};
use tests::{Fault, PgBouncer, Proxy, Test, TestServer, tests};
use tokio_util::sync::CancellationToken;

use super::{Log, POSTGRES, execute, insert, open, scalar, text};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        behind_a_pooler_in_transaction_mode_every_run_is_exact on POSTGRES,
        behind_a_pooler_in_session_mode_every_run_is_exact_without_the_flag on POSTGRES,
        behind_a_pooler_an_orphan_is_ended on POSTGRES,
        behind_a_pooler_no_stranger_is_ended on POSTGRES,
        named_statements_mixed_up_by_a_pooler_are_reported on POSTGRES,
    ]
}

const ACCOUNTS: i64 = 12;

async fn pooler(log: &Log, mode: &str, connections: u32) -> Option<PgBouncer> {
    let program = PgBouncer::find()?;
    let (mode, size) = (format!("pool_mode = {mode}"), format!("default_pool_size = {connections}"));
    let settings = [mode.as_str(), &size, "ignore_startup_parameters = extra_float_digits"];
    Some(PgBouncer::start(&program, log.test.url(), &settings).await.expect("PgBouncer starts"))
}

fn unnamed() -> Policy {
    Policy { unnamed_statements: true, ..Policy::default() }
}

fn bound(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, sql, values)
}

async fn number(tx: &Tx, statement: Statement) -> Result<i64, DbErr> {
    let row = tx.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("a number".to_owned()))?.try_get_by_index(0)
}

/// Statement names collide between sessions.
async fn transfer(tx: &Tx, id: i64) -> Result<(), DbErr> {
    let (source, target, amount) = (id % ACCOUNTS, (id * 7 + 1 + id / ACCOUNTS) % ACCOUNTS, id % 5);
    assert_eq!(text(tx, "SHOW transaction_isolation").await?, "serializable");
    assert_eq!(number(tx, bound(&format!("SELECT $1::int8 * {id}"), [3_i64.into()])).await?, 3 * id);
    let balance = "SELECT balance FROM account WHERE id = $1";
    let before = number(tx, bound(balance, [source.into()])).await?;
    let nested = tx.begin().await?;
    let note = bound("INSERT INTO moved VALUES ($1, $2) RETURNING id", [id.into(), format!("{id}").into()]);
    assert_eq!(nested.query_one_raw(note).await?.expect("a row").try_get_by_index::<i64>(0)?, id);
    nested.commit().await?;
    let change = |account: i64, by: i64| {
        bound("UPDATE account SET balance = balance + $2 WHERE id = $1", [account.into(), by.into()])
    };
    tx.execute_raw(change(source, -amount)).await?;
    tx.execute_unprepared(&format!("UPDATE account SET balance = balance + {amount} WHERE id = {target}"))
        .await?;
    let now = number(tx, bound(balance, [source.into()])).await?;
    assert_eq!(now, if source == target { before } else { before - amount }, "{source} to {target}");
    let mut rows =
        tx.stream_raw(bound("SELECT n FROM generate_series(1, $1) AS n", [(id % 3 + 1).into()])).await?;
    let mut count = 0;
    while let Some(row) = rows.next().await {
        row?;
        count += 1;
    }
    assert_eq!(count, id % 3 + 1);
    drop(rows);
    let copied = tx.copy_in("COPY copied FROM STDIN", format!("{id}\n").as_bytes()).await?;
    assert_eq!(copied, 1);
    Ok(())
}

async fn open_accounts(db: &DatabaseConnection) {
    for sql in [
        "CREATE TABLE account (id INT8 PRIMARY KEY, balance INT8 NOT NULL)",
        "INSERT INTO account SELECT n - 1, 1000 FROM generate_series(1, 12) AS n",
        "CREATE TABLE moved (id INT8 PRIMARY KEY, note TEXT NOT NULL)",
        "CREATE TABLE copied (id INT8 PRIMARY KEY)",
    ] {
        execute(db, sql).await;
    }
}

async fn transfers_are_exact(log: &Log, pooler: &PgBouncer, policy: Policy, count: i64) {
    open_accounts(&log.db).await;
    let next = AtomicI64::new(0);
    let programs = [open(&pooler.url(log.test.url()), 6).await, open(&pooler.url(log.test.url()), 6).await];
    let runners = programs.each_ref().map(|db| Runner::new(db, policy.clone()));
    let client = async |number: usize| {
        let worker = runners[number % 2].worker();
        loop {
            let id = next.fetch_add(1, Ordering::Relaxed);
            if id >= count {
                return;
            }
            let body = async |tx: &Tx| transfer(tx, id).await;
            let told = if number < 6 {
                runners[number % 2].run("transfer", body).await
            } else {
                worker.run("transfer", body).await
            };
            told.unwrap_or_else(|error: DbErr| panic!("{id}: {error}"));
            let whole = async |tx: &Tx| {
                assert_eq!(text(tx, "SHOW transaction_isolation").await?, "repeatable read");
                scalar(tx, "SELECT sum(balance)::int8 FROM account").await
            };
            let sum: Result<i64, DbErr> = runners[number % 2].read("sum", whole).await;
            assert_eq!(sum, Ok(1000 * ACCOUNTS));
        }
    };
    join_all((0..12).map(client)).await;
    for table in ["moved", "copied"] {
        assert_eq!(scalar(&log.db, &format!("SELECT count(*) FROM {table}")).await, Ok(count), "{table}");
    }
    let wrong = "SELECT count(*) FROM moved WHERE note <> id::text";
    assert_eq!(scalar(&log.db, wrong).await, Ok(0));
}

async fn behind_a_pooler_in_transaction_mode_every_run_is_exact(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let Some(pooler) = pooler(&log, "transaction", 4).await else { return };
    // Transaction mode does not reset the default isolation of a server connection.
    let strangers = open(&pooler.url(log.test.url()), 4).await;
    let held = join_all((0..4).map(|_| strangers.begin())).await;
    for held in held {
        let held = held.expect("a connection of the server");
        execute(&held, "SET default_transaction_isolation = 'read committed'").await;
        held.commit().await.expect("it stays");
    }
    let left = async || {
        let show = async |tx: &Tx| text(tx, "SHOW transaction_isolation").await;
        Runner::new(&strangers, unnamed()).query("show", show).await
    };
    assert_eq!(left().await.as_deref(), Ok("read committed"));
    transfers_are_exact(&log, &pooler, unnamed(), 300).await;
    assert_eq!(left().await.as_deref(), Ok("read committed"));
}

async fn behind_a_pooler_in_session_mode_every_run_is_exact_without_the_flag(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let Some(pooler) = pooler(&log, "session", 20).await else { return };
    transfers_are_exact(&log, &pooler, Policy::default(), 150).await;
}

async fn silent_at(log: &Log, pooler: &PgBouncer, at: &'static str, delivered: bool) -> (Proxy, Runner) {
    let proxy = Proxy::faulty(pooler.address()).await.expect("a port is free");
    let db = open(&proxy.url(log.test.url()), 3).await;
    let mut struck = false;
    proxy.arm(move |request| {
        let strikes = !struck && request.text.contains(at) && !request.text.contains("BEGIN");
        struck |= strikes;
        strikes.then_some(Fault::Silent { delivered })
    });
    let policy = Policy { answer_deadline: Duration::from_secs(3), ..unnamed() };
    (proxy, Runner::new(&db, policy))
}

/// The pooler keeps a silent client's transaction and its row lock.
async fn behind_a_pooler_an_orphan_is_ended(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let Some(pooler) = pooler(&log, "transaction", 4).await else { return };
    insert(&log.db, 1).await.expect("a free id");
    let (proxy, runner) = silent_at(&log, &pooler, "INSERT INTO log", false).await;
    let body = async |tx: &Tx| {
        tx.execute_unprepared("UPDATE log SET note = note + 1 WHERE id = 1").await?;
        insert(tx, 2).await.map(|()| tx.attempt())
    };
    assert_eq!(runner.run("lost", body).await, Ok(2), "the orphan's lock is not waited for");
    assert_eq!(scalar(&log.db, "SELECT note FROM log WHERE id = 1").await, Ok(1));
    proxy.settle().await;
}

/// COMMIT's answer is lost. When the orphan should be ended, another client has its server
/// connection.
async fn behind_a_pooler_no_stranger_is_ended(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let Some(pooler) = pooler(&log, "transaction", 4).await else { return };
    let (proxy, runner) = silent_at(&log, &pooler, "COMMIT", true).await;
    let pids = Mutex::new(Vec::new());
    let body = async |tx: &Tx| {
        let pid = scalar(tx, "SELECT pg_backend_pid()").await?;
        pids.lock().expect("no panic").push(pid);
        let written = tx.execute_unprepared("INSERT INTO log (id) VALUES (7) ON CONFLICT DO NOTHING").await?;
        if written.rows_affected() == 0 {
            tx.proved_applied();
        } else {
            tx.proved_not_applied();
        }
        Ok::<_, DbErr>(tx.attempt())
    };
    let ended = CancellationToken::new();
    let stranger = async {
        while log.count().await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let committed = pids.lock().expect("no panic")[0];
        let strangers = open(&pooler.url(log.test.url()), 3).await;
        let mut others = Vec::new();
        let theirs = loop {
            let transaction = strangers.begin().await.expect("a connection of the server");
            if scalar(&transaction, "SELECT pg_backend_pid()").await == Ok(committed) {
                break transaction;
            }
            others.push(transaction);
        };
        for other in others {
            other.rollback().await.expect("it is well");
        }
        insert(&theirs, 100).await.expect("a free id");
        ended.cancelled().await;
        theirs.commit().await
    };
    let run = async {
        let told = runner.run_idempotent("move", body).await;
        ended.cancel();
        told
    };
    let (told, kept) = tokio::join!(run, stranger);
    assert_eq!(told, Ok(2));
    kept.expect("a stranger's transaction is not ended");
    assert_eq!(log.count().await, 2);
    proxy.settle().await;
}

async fn named_statements_mixed_up_by_a_pooler_are_reported(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let Some(pooler) = pooler(&log, "transaction", 1).await else { return };
    let [one, other] =
        [open(&pooler.url(log.test.url()), 1).await, open(&pooler.url(log.test.url()), 1).await];
    let several = async |tx: &Tx| {
        for n in 1..=5_i64 {
            let answer = number(tx, bound(&format!("SELECT $1::int8 + {n}"), [n.into()])).await?;
            assert_eq!(answer, 2 * n);
        }
        insert(tx, i64::from(tx.attempt())).await
    };
    Runner::new(&one, Policy::default()).run("first", several).await.expect("the names are free");
    execute(&log.db, "DELETE FROM log").await;
    let error = Runner::new(&other, Policy::default()).run("second", several).await.expect_err("taken");
    let ended = Ended::of(&error).expect("it is not the body's own");
    assert_eq!((ended.kind(), ended.may_be_applied()), (Kind::Failed, false), "{error}");
    assert_eq!(sqlstate(&error).as_deref(), Some("42P05"), "{error}");
    assert!(
        error.to_string().contains("pooler") && error.to_string().contains("unnamed_statements"),
        "{error}"
    );
    assert_eq!(log.count().await, 0);
    Runner::new(&other, unnamed()).run("third", several).await.expect("none has a name");
    execute(&log.db, "DELETE FROM log").await;
    // A new server connection has no prepared statements.
    execute(
        &log.db,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE pid <> pg_backend_pid() AND datname = current_database()",
    )
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    Runner::new(&one, Policy::default()).run("fourth", several).await.expect("a cleared cache");
    assert_eq!(log.count().await, 1);
}
