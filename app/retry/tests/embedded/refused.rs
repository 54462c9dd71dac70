//! The statements that a body may and may not send.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::Tx;

use crate::{Log, insert, send};

#[tokio::test]
async fn control_is_refused_and_nothing_is_applied() {
    let log = Log::new(1).await;
    for sql in [
        "COMMIT",
        "/* really */ rollback",
        "SAVEPOINT a",
        "INSERT INTO log VALUES (2); COMMIT",
        "\u{a0}COMMIT",
        "\u{feff}COMMIT",
        "INSERT INTO log VALUES (2);\u{a0}COMMIT",
        "SELECT '\0'",
    ] {
        let told: Result<(), DbErr> = log
            .runner
            .run("control", async |tx: &Tx| {
                insert(tx, 1).await?;
                tx.execute_unprepared(sql).await.map(drop)
            })
            .await;
        let error = told.expect_err(sql).to_string();
        assert!(error.contains("refused inside a transaction"), "{error}");
        assert_eq!(log.ids().await, [0_i64; 0], "{sql:?}");
    }
}

#[tokio::test]
async fn several_statements_and_a_trigger_are_accepted() {
    let log = Log::new(1).await;
    send(&log, "INSERT INTO log VALUES (1); INSERT INTO log VALUES (2)").await.expect("two statements");
    let trigger = "CREATE TRIGGER more AFTER INSERT ON log WHEN NEW.id = 3 BEGIN INSERT INTO log VALUES (30); SELECT 1; END";
    send(&log, trigger).await.expect("a trigger");
    send(&log, "INSERT INTO log VALUES (3)").await.expect("the trigger fires");
    assert_eq!(log.ids().await, [1, 2, 3, 30]);
}
