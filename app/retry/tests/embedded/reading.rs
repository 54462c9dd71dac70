//! A `read` cannot write, and its connection is writable again afterwards.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Tx};

use crate::{Log, ids, insert};

#[tokio::test]
async fn a_read_cannot_write_and_the_connection_can_afterwards() {
    let log = Log::new(1).await;
    insert(&log.db, 1).await.expect("a free id");
    let seen = log.runner.read("see", async |tx: &Tx| ids(tx).await).await;
    assert_eq!(seen, Ok(vec![1]));
    insert(&log.db, 2).await.expect("after success");
    for sql in [
        "INSERT INTO log VALUES (3)",
        "PRAGMA query_only = OFF; INSERT INTO log VALUES (3)",
        "DROP TABLE log",
    ] {
        let told: Result<(), DbErr> =
            log.runner.read("write", async |tx: &Tx| tx.execute_unprepared(sql).await.map(drop)).await;
        assert!(told.is_err(), "{sql}");
    }
    let read_only = log.runner.under(Policy { read_only: true, ..Policy::default() });
    assert!(read_only.run("write", async |tx: &Tx| insert(tx, 3).await).await.is_err());
    insert(&log.db, 4).await.expect("after a failure");
    let never = log.runner.read("never", async |tx: &Tx| {
        ids(tx).await?;
        std::future::pending::<Result<(), DbErr>>().await
    });
    assert!(tokio::time::timeout(Duration::from_millis(50), never).await.is_err());
    insert(&log.db, 5).await.expect("after a dropped future");
    assert_eq!(log.ids().await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_read_sees_one_snapshot_and_waits_for_no_writer() {
    let log = Log::new(2).await;
    let body = async |tx: &Tx| {
        let before = ids(tx).await?;
        insert(&log.db, 1).await?;
        Ok::<_, DbErr>((before, ids(tx).await?))
    };
    assert_eq!(log.runner.read("see", body).await, Ok((vec![], vec![])));
    assert_eq!(log.ids().await, [1]);
}

/// Closing the only connection of a database in memory would delete the database.
#[tokio::test]
async fn a_dropped_run_rolls_back_and_keeps_a_database_in_memory() {
    let db = crate::open("sqlite::memory:", 1).await;
    db.execute_unprepared("CREATE TABLE log (id BIGINT PRIMARY KEY)").await.expect("a new table");
    insert(&db, 1).await.expect("a free id");
    let runner = sea_orm_retry::Runner::new(&db, Policy::default());
    let never = runner.run("never", async |tx: &Tx| {
        insert(tx, 2).await?;
        std::future::pending::<Result<(), DbErr>>().await
    });
    assert!(tokio::time::timeout(Duration::from_millis(50), never).await.is_err());
    assert_eq!(ids(&db).await, Ok(vec![1]));
    let slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n";
    let impatient = async |tx: &Tx| {
        insert(tx, 2).await?;
        if tx.attempt() == 1 {
            let slow = tx.execute_unprepared(slow);
            assert!(tokio::time::timeout(Duration::from_millis(5), slow).await.is_err(), "too fast");
        }
        Ok::<_, DbErr>(())
    };
    runner.run("impatient", impatient).await.expect("the second attempt has nothing to wait for");
    assert_eq!(ids(&db).await, Ok(vec![1, 2]));
}
