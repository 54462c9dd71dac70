//! The harness: set-up on a busy machine, and several versions of CockroachDB in one run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use database::Server;
use tempfile::TempDir;
use tests::{OwnServer, Test, TestServer, scalar, tests};

use crate::books::execute;

pub(crate) fn tests() -> Vec<Test> {
    let timed = tests![alone: set_up_waits_for_a_busy_server on &[Server::Postgres]];
    let others = tests![
        several_cockroachdbs_are_named_by_their_versions on &[Server::Sqlite],
        an_own_server_has_the_version_of_the_test on &[Server::Postgres, Server::Cockroach],
    ];
    [timed, others].concat()
}

/// Longer than the app's connection timeout.
const BUSY: Duration = Duration::from_secs(10);

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

/// Listing the tests starts no server.
async fn several_cockroachdbs_are_named_by_their_versions(_: &TestServer) {
    let folder = TempDir::with_prefix("seabank-versions-").expect("the folder is created");
    let [old, new, patched] = ["v20.2.0-pre", "v22.1.0-alpha.1-3-gabcdef", "v22.1.22"]
        .map(|version| program_of_version(folder.path(), version));
    for (programs, names) in [
        (vec![&new], vec!["cockroachdb"]),
        (vec![&old, &new], vec!["cockroachdb-v20.2", "cockroachdb-v22.1"]),
        (vec![&new, &patched], vec!["cockroachdb-v22.1", "cockroachdb-v22.1-2"]),
    ] {
        let programs = std::env::join_paths(programs).expect("no path has a colon");
        let mut list = Command::new(std::env::current_exe().expect("it knows its own program"));
        list.env_remove("TEST_COCKROACH_URL").env_remove("TEST_REQUIRE").env("COCKROACH_BINARY", programs);
        let list = list.args(["--list", "seed::"]).output().expect("the command runs");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let mut found: Vec<&str> =
            list.lines().filter_map(|line| line.split_once("::")).map(|it| it.0).collect();
        found.sort_unstable();
        found.dedup();
        found.retain(|name| name.starts_with("cockroachdb"));
        assert_eq!(found, names, "{list}");
    }
}

/// Another process writes it: a file that this process, or a child between fork and exec, holds
/// open for writing cannot be executed.
fn program_of_version(folder: &Path, version: &str) -> PathBuf {
    let program = folder.join(version);
    let script = format!("#!/bin/sh\necho 'Build Tag:        {version}'\n");
    let mut write = Command::new("sh");
    write.args(["-c", "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", &script]).arg(&program);
    assert!(write.status().expect("the shell runs").success());
    program
}

async fn an_own_server_has_the_version_of_the_test(server: &TestServer) {
    let Some(own) = OwnServer::start(server).await.expect("the server starts") else { return };
    assert_eq!(own.admin().await.version, server.version);
}
