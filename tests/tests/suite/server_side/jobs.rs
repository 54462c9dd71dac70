//! The server's jobs: they outlive their sessions, and are followed or cancelled.

use database::Database;
use tests::{TestServer, scalar};

use super::{Imitated, accounts, assert_clean, web};
use crate::background::Background;
use crate::books::{everything, execute};
use crate::crash::assert_whole;

/// The requests of a file before its accounts are imported.
const TO_LOOK_AT: usize = 2;

/// The session is cancelled while the server waits for the file; its job continues.
pub(super) async fn a_job_that_outlives_its_session_is_followed(server: &TestServer) {
    for time in 1..=TO_LOOK_AT + 1 {
        let (test, file) = (server.database().await, web(accounts(300, 3)).await);
        let database = test.connect().await;
        file.hold(time);
        let importing = Background::start(&test, &["import", "--server-side", &file.url("a.csv")]);
        if time <= TO_LOOK_AT || takes_accounts(&database) {
            file.is_held().await;
            cancel_import(&database).await;
        }
        file.release();
        let told = importing.end().await;
        assert_eq!((told.code, told.count("rows")), (Some(0), 300), "time {time}: {told:?}");
        assert_eq!(everything(&database).await.0.len(), 300);
        assert_clean(&test, &database).await;
    }
}

async fn cancel_import(database: &Database) {
    let sql = "CANCEL SESSIONS SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE active_queries LIKE 'IMPORT INTO %'";
    execute(database, sql).await;
}

/// SHOW JOBS cuts long descriptions in the middle since v24.1.
fn with_cut_descriptions(sql: &str) -> String {
    let cut = "(SELECT job_id, job_type, status, fraction_completed, error, CASE WHEN length(description) > 70 \
        THEN substr(description, 1, 59) || '...' || right(description, 7) ELSE description END AS description \
        FROM [SHOW JOBS]) AS jobs";
    sql.replace("[SHOW JOBS]", cut)
}

pub(super) async fn a_job_with_a_cut_description_is_found(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(300, 3)).await);
    let database = test.connect().await;
    let (imported, url) = (Imitated::new(&test, with_cut_descriptions).await, file.url("a.csv"));
    file.hold(TO_LOOK_AT);
    let cancelled = async {
        file.is_held().await;
        cancel_import(&database).await;
        file.release();
    };
    let (imported, ()) = tokio::join!(imported.import(&url), cancelled);
    assert_eq!(imported.rows, 300);
    assert_clean(&test, &database).await;
}

fn takes_accounts(database: &Database) -> bool {
    !database.version.contains(" v20.1.")
}

pub(super) async fn an_interrupted_or_killed_import_is_whole_or_absent(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(300, 3)).await);
    let database = test.connect().await;
    let url = file.url("a.csv");
    file.hold(TO_LOOK_AT);
    let importing = Background::start(&test, &["import", "--server-side", &url]);
    file.is_held().await;
    importing.interrupt();
    // The job is cancelled on interrupt.
    let cancelled = format!(
        "SELECT count(*) FROM [SHOW JOBS] WHERE description LIKE 'IMPORT INTO {}.%' \
         AND status NOT IN ('running', 'pending', 'failed')",
        test.name
    );
    while scalar(&database, &cancelled).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    file.release();
    let told = importing.end().await;
    assert_eq!((told.code, told.count("rows")), (Some(130), 0), "{told:?}");
    assert_eq!(everything(&database).await.0.len(), 0);
    assert_clean(&test, &database).await;

    // Killed: the job continues, and a repeated import waits for it.
    file.hold(if takes_accounts(&database) { TO_LOOK_AT + 1 } else { TO_LOOK_AT });
    let importing = Background::start(&test, &["import", "--server-side", &url]);
    file.is_held().await;
    importing.kill();
    let again = Background::start(&test, &["import", "--server-side", &url]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    file.release();
    let told = again.end().await;
    assert_eq!((told.code, told.count("rows") + told.count("present")), (Some(0), 300), "{told:?}");
    assert_eq!(told.count("present"), if takes_accounts(&database) { 300 } else { 0 });
    assert_eq!(everything(&database).await.0.len(), 300);
    assert_whole(&test);
}
