//! What a body may send, beside the server's own word.

use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::{Policy, Runner, Tx};

use crate::{Log, ids, insert, open, send};

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
async fn several_statements_and_a_trigger_are_taken() {
    let log = Log::new(1).await;
    send(&log, "INSERT INTO log VALUES (1); INSERT INTO log VALUES (2)").await.expect("two statements");
    let trigger = "CREATE TRIGGER more AFTER INSERT ON log WHEN NEW.id = 3 BEGIN INSERT INTO log VALUES (30); SELECT 1; END";
    send(&log, trigger).await.expect("a trigger");
    send(&log, "INSERT INTO log VALUES (3)").await.expect("it fires");
    assert_eq!(log.ids().await, [1, 2, 3, 30]);
}

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("COMMIT"),
        Just("ROLLBACK"),
        Just("END"),
        Just("BEGIN"),
        Just("SAVEPOINT a"),
        Just("RELEASE a"),
        Just("SELECT 1"),
        Just("INSERT INTO log VALUES (7)"),
        Just(";"),
        Just(" "),
        Just("\n"),
        Just("\r"),
        Just("\t"),
        Just("\x0b"),
        Just("\x0c"),
        Just("\u{a0}"),
        Just("\u{feff}"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("'"),
        Just("\""),
        Just("`"),
        Just("["),
        Just("]"),
        Just("("),
        Just(")"),
        Just("x"),
        Just("$$"),
        Just("\\"),
        Just("é"),
        Just("CREATE TRIGGER t AFTER INSERT ON log BEGIN "),
        Just("CREATE TEMP TRIGGER t AFTER DELETE ON log BEGIN SELECT 1; END"),
        Just("EXPLAIN"),
        Just("TRIGGER"),
        Just("CREATE"),
    ];
    proptest::collection::vec(part, 1..9).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    /// Whatever is sent: while the body runs nobody else sees its row, and afterwards it is there if and only if the run
    /// says so.
    #[test]
    fn no_text_ends_the_transaction(sql in text()) {
        thread_local! {
            static WORLD: (tokio::runtime::Runtime, Log, sea_orm::DatabaseConnection) = {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let (log, other) = runtime.block_on(async {
                    let log = Log::new(1).await;
                    let other = open(&log.url, 1).await;
                    (log, other)
                });
                (runtime, log, other)
            };
        }
        WORLD.with(|(runtime, log, other)| {
            runtime.block_on(async {
                let runner = Runner::new(&log.db, Policy { attempts_max: 1, ..Policy::default() });
                let body = async |tx: &Tx| {
                    insert(tx, 1).await?;
                    let _ = tx.execute_unprepared(&sql).await;
                    assert_eq!(ids(other).await?, [0_i64; 0], "{sql:?} ended the transaction");
                    Ok::<_, DbErr>(())
                };
                let applied = runner.run("text", body).await.is_ok();
                assert_eq!(ids(other).await.expect("readable").contains(&1), applied, "{sql:?}");
                log.db.execute_unprepared("DROP TRIGGER IF EXISTS t; DELETE FROM log").await.expect("nothing is open");
            });
        });
    }
}
