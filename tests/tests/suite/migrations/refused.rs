//! Migrations that fail with one line and an exit code.

use std::net::TcpListener;

use tests::TestServer;

use super::{fails, tables};
use crate::books::execute;

pub(super) async fn wrong_usage_exits_with_2(server: &TestServer) {
    let test = server.empty_database().await;
    for (arguments, word) in [
        (&["sideways"][..], "sideways"),
        (&["up", "-n", "x"], "x"),
        (&["up", "-u", "mysql://bank:s3cret@localhost/bank"], "URL"),
        (&["up", "-u", "postgres://bank:s3cret@localhost:99999/bank"], "URL"),
    ] {
        let line = fails(&test, arguments, 2);
        assert!(line.contains(word) && !line.contains("s3cret"), "{line}");
    }
    let help =
        test.migration().env("DATABASE_URL", "postgres://bank:s3cret@localhost/bank").arg("--help").output();
    assert!(!String::from_utf8_lossy(&help.expect("the command runs").stdout).contains("s3cret"));
}

pub(super) async fn no_server_exits_with_5(server: &TestServer) {
    let test = server.empty_database().await;
    for command in ["up", "status", "down", "fresh", "refresh", "reset"] {
        let line = fails(&test, &[command, "-u", "postgres://bank:s3cret@127.0.0.1:1/bank"], 5);
        assert!(
            line.contains("127.0.0.1:1") && line.contains("start it") && !line.contains("s3cret"),
            "{line}"
        );
    }
}

pub(super) async fn a_silent_server_exits_with_5_within_10_s(server: &TestServer) {
    let test = server.empty_database().await;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("cockroachdb://root@{}/bank", silent.local_addr().expect("an address"));
    let line = fails(&test, &["up", "-u", &url], 5);
    assert!(line.contains("did not answer"), "{line}");
}

pub(super) async fn no_database_exits_with_5(server: &TestServer) {
    let test = server.empty_database().await;
    let line = fails(&test, &["up", "-u", &test.url().replace(&test.name, "nowhere")], 5);
    assert!(line.contains("CREATE DATABASE nowhere"), "{line}");
}

pub(super) async fn no_rights_exit_with_5(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    let role = format!("{}_guest", test.name);
    execute(&database, &format!("CREATE ROLE {role} LOGIN")).await;
    let line = fails(&test, &["up", "-u", &test.url().replace("postgres@", &format!("{role}@"))], 5);
    assert!(line.contains("GRANT CREATE") && line.contains(&role), "{line}");
    assert_eq!(tables(&test).await, [""; 0]);
    execute(&database, &format!("DROP ROLE {role}")).await;
}

pub(super) async fn a_newer_schema_exits_with_5(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_later', 0)";
    execute(&database, newer).await;
    for command in ["up", "status", "down"] {
        let line = fails(&test, &[command], 5);
        assert!(line.contains("m20990101_000001_later"), "{line}");
    }
    test.seabank().arg("audit").assert().code(5);
}
