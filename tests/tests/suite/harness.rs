//! The harness itself: what its set-up does on a busy machine. Its limits are tried in `limits`.

use std::time::Duration;

use database::Server;
use tests::{Test, TestServer, scalar, tests};

use crate::books::execute;

pub(crate) fn tests() -> Vec<Test> {
    tests![alone: set_up_waits_for_a_busy_server on &[Server::Postgres]]
}

/// Longer than the app waits for a connection.
const BUSY: Duration = Duration::from_secs(10);

/// While the first database is made, the second waits for the session that makes them.
async fn set_up_waits_for_a_busy_server(server: &TestServer) {
    let test = server.empty_database().await;
    let busy = test.connect_for_analysis().await;
    for sql in ["BEGIN", "LOCK TABLE pg_database IN SHARE MODE"] {
        execute(&busy, sql).await;
    }
    let release = async {
        tokio::time::sleep(BUSY).await;
        execute(&busy, "COMMIT").await;
    };
    let (one, other, ()) = tokio::join!(server.empty_database(), server.empty_database(), release);
    for test in [one, other] {
        assert_eq!(scalar(&test.connect().await, "SELECT 1").await, 1);
    }
}
