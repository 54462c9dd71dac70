//! No database that can be used: exit code 5, in one line that says what to do.

use database::Server;
use tests::{Test, TestServer, tests};

use crate::wrong_input::fails;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_server_that_is_not_there_is_5,
        a_database_that_is_not_there_is_5,
        a_schema_that_is_not_migrated_is_5,
        a_balancer_without_a_node_is_5 on &[Server::Sqlite],
        a_server_that_never_answers_is_5 on &[Server::Sqlite],
    ]
}

async fn a_server_that_is_not_there_is_5(server: &TestServer) {
    let test = server.database().await;
    for command in ["audit", "demo", "seed", "transfer", "accounts"] {
        let nobody = "postgres://bank:s3cret@127.0.0.1:1/bank";
        fails(&test, &[command, "--database-url", nobody], 5, &["127.0.0.1:1", "start it"]);
    }
}

async fn a_database_that_is_not_there_is_5(server: &TestServer) {
    let test = server.database().await;
    let nowhere = match server.server {
        Server::Sqlite => test.url().replace("mode=rwc", "mode=rw").replace(&test.name, "nowhere"),
        Server::Postgres | Server::Cockroach => test.url().replace(&test.name, "nowhere"),
    };
    fails(&test, &["audit", "--database-url", &nowhere], 5, &["nowhere"]);
}

async fn a_schema_that_is_not_migrated_is_5(server: &TestServer) {
    let test = server.empty_database().await;
    let commands = [
        &["seed"][..],
        &["transfer"],
        &["audit"],
        &["accounts"],
        &["history", "1"],
        &["transfer", "--count", "5"],
    ];
    for command in commands {
        fails(&test, command, 5, &["not migrated", "seabank migrate up"]);
    }
    test.migration().args(["up", "-n", "3"]).assert().success();
    for command in commands {
        fails(&test, command, 5, &["only in part", "3 of 6", "seabank migrate up"]);
    }
}

/// HAProxy without a node: it accepts the connection and closes it.
async fn a_balancer_without_a_node_is_5(server: &TestServer) {
    let test = server.database().await;
    let balancer = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = balancer.local_addr().expect("it has an address");
    let closing = tokio::spawn(async move { while balancer.accept().await.is_ok() {} });
    let url = format!("cockroachdb://bank:s3cret@{address}/bank?sslmode=disable");
    for command in ["audit", "seed", "transfer", "doctor"] {
        let words = [&address.to_string(), "closed without an answer", "start a node"];
        fails(&test, &[command, "--database-url", &url], 5, &words);
    }
    closing.abort();
}

/// A cluster that is not initialised or has no quorum accepts connections and never answers.
async fn a_server_that_never_answers_is_5(server: &TestServer) {
    let test = server.database().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = silent.local_addr().expect("it has an address").to_string();
    let url = format!("cockroachdb://bank:s3cret@{address}/bank?sslmode=disable");
    fails(&test, &["seed", "--database-url", &url], 5, &[&address, "within 8 s", "cockroach init"]);
}
