//! Nested transactions, and streams.

use std::time::Duration;

use futures_util::StreamExt;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, SqlErr, Statement, StreamTrait, TransactionError,
    TransactionSession, TransactionTrait,
};
use sea_orm_retry::{Ended, Kind, Policy, Tx, sqlstate};

use crate::{Log, ids, insert};

/// A helper as SeaORM's users write it.
async fn get_or_create<C: ConnectionTrait + TransactionTrait>(
    connection: &C,
    id: i64,
) -> Result<bool, DbErr> {
    let nested = connection.begin().await?;
    match insert(&nested, id).await {
        Ok(()) => nested.commit().await.map(|()| true),
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            nested.rollback().await.map(|()| false)
        }
        Err(error) => Err(error),
    }
}

#[tokio::test]
async fn get_or_create_by_catching_a_unique_violation() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        let found = [get_or_create(tx, 1).await?, get_or_create(tx, 2).await?, get_or_create(tx, 2).await?];
        insert(tx, 3).await?;
        Ok::<_, DbErr>(found)
    };
    assert_eq!(log.runner.run("tags", body).await, Ok([false, true, false]));
    assert_eq!(log.ids().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_nested_transaction_is_undone_alone_or_with_its_parent() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        let outer = tx.begin().await?;
        insert(&outer, 1).await?;
        let inner = outer.begin().await?;
        insert(&inner, 2).await?;
        inner.rollback().await?;
        let inner = outer.begin().await?;
        insert(&inner, 3).await?;
        inner.commit().await?;
        assert_eq!(ids(&outer).await?, [1, 3]);
        outer.commit().await?;
        let undone = tx.begin().await?;
        insert(&undone, 4).await?;
        let committed = undone.begin().await?;
        insert(&committed, 5).await?;
        committed.commit().await?;
        undone.rollback().await?;
        assert_eq!(ids(tx).await?, [1, 3]);
        Ok::<_, DbErr>(())
    };
    log.runner.run("nest", body).await.expect("applied");
    assert_eq!(log.ids().await, [1, 3]);
}

#[tokio::test]
async fn a_dropped_one_is_undone_before_the_next_statement_and_before_commit() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        let nested = tx.begin().await?;
        let inner = nested.begin().await?;
        insert(&inner, 1).await?;
        drop(nested);
        drop(inner);
        assert_eq!(ids(tx).await?, [0_i64; 0]);
        insert(tx, 2).await?;
        let last = tx.begin().await?;
        insert(&last, 3).await?;
        Ok::<_, DbErr>(())
    };
    log.runner.run("drop", body).await.expect("applied");
    assert_eq!(log.ids().await, [2]);
}

#[tokio::test]
async fn one_that_outlives_its_body_is_undone() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        let nested = tx.begin().await?;
        insert(&nested, 2).await?;
        Ok::<_, DbErr>(nested)
    };
    let nested = log.runner.run("escape", body).await.expect("applied");
    assert_eq!(log.ids().await, [1]);
    for told in [insert(&nested, 3).await, nested.begin().await.map(drop), nested.commit().await] {
        assert!(told.is_err_and(|error| error.to_string().contains("is over")));
    }
    assert_eq!(log.ids().await, [1]);
}

#[tokio::test]
async fn a_nested_commit_after_an_error_fails_with_it_and_is_undone() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        let nested = tx.begin().await?;
        insert(&nested, 1).await?;
        let first = insert(&nested, 1).await.expect_err("the id is taken");
        assert_eq!(insert(&nested, 2).await, Err(first.clone()), "nothing more is sent");
        assert_eq!(nested.commit().await, Err(first));
        insert(tx, 3).await
    };
    log.runner.run("commit", body).await.expect("applied");
    assert_eq!(log.ids().await, [3]);
}

#[tokio::test]
async fn the_closure_form_commits_and_rolls_back() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        let kept =
            tx.transaction::<_, _, DbErr>(|nested| Box::pin(async move { insert(nested, 1).await })).await;
        assert!(kept.is_ok());
        let undone = tx
            .transaction::<_, (), DbErr>(|nested| {
                Box::pin(async move {
                    insert(nested, 2).await?;
                    Err(DbErr::Custom("no".to_owned()))
                })
            })
            .await;
        assert!(matches!(undone, Err(TransactionError::Transaction(_))));
        let configured = tx.begin_with_config(None, Some(AccessMode::ReadOnly)).await.map(drop);
        assert!(configured.is_err_and(|error| error.to_string().contains("in its policy")));
        Ok::<_, DbErr>(())
    };
    log.runner.run("closures", body).await.expect("applied");
    assert_eq!(log.ids().await, [1]);
}

#[tokio::test]
async fn two_siblings_at_once_are_refused() {
    let log = Log::new(1).await;
    let body = async |tx: &Tx| {
        let first = tx.begin().await?;
        let second = tx.begin().await.map(drop);
        first.commit().await?;
        second
    };
    let error = log.runner.run("two", body).await.expect_err("one is open");
    assert!(error.to_string().contains("do not run two at once"), "{error}");
}

/// `RAISE(ROLLBACK)` and `ON CONFLICT ROLLBACK` end the transaction, so the next statement would be
/// autocommitted.
#[tokio::test]
async fn an_error_that_ends_sqlite_s_transaction_ends_the_attempt() {
    let log = Log::new(1).await;
    for sql in [
        "CREATE TABLE strict (id BIGINT UNIQUE ON CONFLICT ROLLBACK)",
        "INSERT INTO strict VALUES (1)",
        "CREATE TRIGGER no AFTER INSERT ON log WHEN NEW.id = 13 BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    ] {
        log.db.execute_unprepared(sql).await.expect(sql);
    }
    for (sql, code) in [("INSERT INTO strict VALUES (1)", "2067"), ("INSERT INTO log VALUES (13)", "1811")] {
        for rollback in [true, false] {
            let body = async |tx: &Tx| {
                insert(tx, 1).await?;
                let nested = tx.begin().await?;
                assert!(nested.execute_unprepared(sql).await.is_err());
                let undone = if rollback { nested.rollback().await } else { nested.commit().await };
                assert!(undone.is_err(), "{sql}");
                let _ = insert(tx, 2).await;
                Ok::<_, DbErr>(())
            };
            let error = log.runner.run("ended", body).await.expect_err("the transaction is gone");
            let ended = Ended::of(&error).expect("the body swallowed it");
            assert_eq!(
                (ended.kind(), sqlstate(ended.first()).as_deref()),
                (Kind::Failed, Some(code)),
                "{error}"
            );
            assert_eq!(log.ids().await, [0_i64; 0], "{sql}");
        }
    }
    insert(&log.db, 3).await.expect("the connection is usable");
    assert_eq!(log.ids().await, [3]);
}

#[tokio::test]
async fn a_stream_is_read_or_dropped_before_the_next_statement() {
    let log = Log::new(1).await;
    let all = || Statement::from_string(DbBackend::Sqlite, "SELECT id FROM log ORDER BY id");
    let body = async |tx: &Tx| {
        for id in 1..=50 {
            insert(tx, id).await?;
        }
        let mut rows = tx.stream_raw(all()).await?;
        let mut sum = 0;
        while let Some(row) = rows.next().await {
            sum += row?.try_get_by_index::<i64>(0)?;
        }
        drop(rows);
        let mut rows = tx.stream_raw(all()).await?;
        assert!(rows.next().await.is_some_and(|row| row.is_ok()));
        drop(rows);
        insert(tx, 51).await?;
        Ok::<_, DbErr>(sum)
    };
    assert_eq!(log.runner.run("stream", body).await, Ok(1275));
    assert_eq!(log.ids().await.len(), 51);
    let body = async |tx: &Tx| {
        let rows = tx.stream_raw(all()).await?;
        let beside = insert(tx, 99).await;
        drop(rows);
        beside
    };
    let error = log.runner.run("beside", body).await.expect_err("it would wait for itself");
    assert!(error.to_string().contains("a stream of rows is still open"), "{error}");
    // The stream begins while the last statement waits for its turn.
    let joined = async |tx: &Tx| {
        let (first, rows, last) = tokio::join!(insert(tx, 90), tx.stream_raw(all()), insert(tx, 91));
        first?;
        drop(rows?);
        last
    };
    let short = Policy { answer_deadline: Duration::from_millis(200), ..Policy::default() };
    let error = log.runner.under(short).run("joined", joined).await.expect_err("it would wait for itself");
    assert!(error.to_string().contains("a stream of rows is still open"), "{error}");
    assert_eq!(log.ids().await.len(), 51);
}

/// A body that drops the stream does not see its late error.
#[tokio::test]
async fn an_error_in_the_unread_rest_of_a_stream_is_found_before_commit() {
    let log = Log::new(1).await;
    let late = "SELECT abs(CASE value WHEN 40 THEN -9223372036854775807 - 1 ELSE value END) \
                FROM (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 50) SELECT * FROM n)";
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        let mut rows = tx.stream_raw(Statement::from_string(DbBackend::Sqlite, late)).await?;
        assert!(rows.next().await.is_some_and(|row| row.is_ok()));
        drop(rows);
        Ok::<_, DbErr>(())
    };
    let error = log.runner.run("late", body).await.expect_err("integer overflow");
    assert!(error.to_string().contains("integer overflow"), "{error}");
    assert_eq!(log.ids().await, [0_i64; 0]);
}
