//! Bulk loads: points, and chunks that the server refuses as too large.

use database::Server;
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use serde_json::Value;
use tests::{Loss, Tap, Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::books::{execute, loading, tapped};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        points_are_added_once,
        points_with_lost_answers_are_not_added_twice,
        rows_beyond_the_limit_of_one_statement_are_added,
        a_chunk_that_is_too_large_is_halved on &[Server::Postgres],
        a_single_row_that_is_too_large_fails on &[Server::Postgres],
    ]
}

const POINTS: &str = "SELECT count(*) FROM points WHERE x >= 0 AND x < 1024 AND y < 1024 AND z < 1024";
const BATCHED: &str = "SELECT CAST(coalesce(sum(rows), 0) AS BIGINT) FROM batches";

fn answer(test: &TestDatabase, arguments: &[&str]) -> Value {
    let output =
        test.seabank().args(arguments).args(["--format", "json"]).output().expect("the command runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

async fn points_are_added_once(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let run = Uuid::new_v4().to_string();
    let points = ["points", "--count", "2500", "--chunk", "1000", "--run", &run];
    let first = answer(&test, &points);
    assert_eq!((&first["rows"], &first["chunks"], &first["rejected"]), (&2500.into(), &3.into(), &0.into()));
    assert_eq!(scalar(&database, POINTS).await, 2500);
    let again = answer(&test, &points);
    assert_eq!((&again["rows"], &again["found"]), (&0.into(), &2500.into()));
    assert_eq!((scalar(&database, POINTS).await, scalar(&database, BATCHED).await), (2500, 2500));
}

/// A point has no unique key, so only its chunk's row in `batches` prevents a second copy.
async fn points_with_lost_answers_are_not_added_twice(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let losses =
        [Loss::AfterCommit, Loss::BeforeCommit, Loss::AfterCommit, Loss::AfterCommit, Loss::BeforeCommit];
    let bank = Bank::on(tapped(&Tap::new(&database).losing(&losses), Policy::default()));
    let added = bank.add_points(250, 1, &loading(Uuid::new_v4(), 100), |_| ()).await.expect("added");
    assert_eq!((added.rows, added.found, added.chunks, bank.counts().unknown), (250, 0, 3, 0));
    assert!(bank.counts().retries >= 3, "{:?}", bank.counts());
    assert_eq!((scalar(&database, POINTS).await, scalar(&database, BATCHED).await), (250, 250));
}

/// SQLite allows 32 766 parameters, the PostgreSQL protocol 65 535.
async fn rows_beyond_the_limit_of_one_statement_are_added(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let bank = Bank::new(&database, Policy::default());
    let added = bank.add_points(30_000, 1, &loading(Uuid::new_v4(), 30_000), |_| ()).await.expect("added");
    assert_eq!((added.rows, added.chunks), (30_000, 1));
    assert_eq!(scalar(&database, POINTS).await, 30_000);
}

async fn refuse_more_than(database: &database::Database, rows: u32, code: &str) {
    execute(
        database,
        &format!(
            "CREATE OR REPLACE FUNCTION too_large() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF (SELECT count(*) FROM new_rows) > {rows} THEN \
             RAISE EXCEPTION 'too large' USING ERRCODE = '{code}'; END IF; RETURN NULL; END $$"
        ),
    )
    .await;
    execute(
        database,
        "CREATE OR REPLACE TRIGGER too_large AFTER INSERT ON points REFERENCING NEW TABLE AS new_rows \
         FOR EACH STATEMENT EXECUTE FUNCTION too_large()",
    )
    .await;
}

async fn a_chunk_that_is_too_large_is_halved(server: &TestServer) {
    for code in ["53400", "54000", "53200"] {
        let test = server.database().await;
        let database = test.connect().await;
        let bank = Bank::new(&database, Policy::default());
        refuse_more_than(&database, 30, code).await;
        let run = loading(Uuid::new_v4(), 100);
        let added = bank.add_points(250, 1, &run, |_| ()).await.expect("added in parts");
        // Chunks of 25.
        assert_eq!((added.rows, added.chunks), (250, 10), "{code}");
        assert_eq!((scalar(&database, POINTS).await, scalar(&database, BATCHED).await), (250, 250));

        // Now the server would accept the whole chunk.
        refuse_more_than(&database, 1000, code).await;
        let again = bank.add_points(250, 1, &run, |_| ()).await.expect("found");
        assert_eq!((again.rows, again.found, again.chunks), (0, 250, 10));
        assert_eq!(scalar(&database, POINTS).await, 250);
    }
}

async fn a_single_row_that_is_too_large_fails(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    refuse_more_than(&database, 0, "54000").await;
    let output = test
        .seabank()
        .args(["points", "--count", "4", "--format", "json"])
        .output()
        .expect("the command runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert_eq!((output.status.code(), &answer["rows"]), (Some(1), &0.into()), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|line| line.contains("too large")), "{answer}");
    assert_eq!(scalar(&database, POINTS).await, 0);
}
