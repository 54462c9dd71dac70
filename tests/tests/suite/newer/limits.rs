//! Limits of newer versions: COPY's timeout, and throttling without a licence.

use database::Server;
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use tests::{Proxy, Request, TestDatabase, TestServer};

use crate::books::seed;

use super::{error, line, newer, seabank};

/// v23.1: the statement timeout covers COPY.
pub(super) async fn a_chunk_that_times_out_suggests_its_flag(server: &TestServer) {
    let test = server.database().await;
    let (_proxy, url) = newer_copy(&test, server.server).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rows: String = (1..=6000).map(|id| format!("{id},10\n")).collect();
    std::fs::write(file.path(), format!("id,balance\n{rows}")).expect("it can be written");
    let path = file.path().display().to_string();
    let (output, answer) = seabank(&test, &url, &["import", &path, "--chunk", "6000"]);
    let line = line(&output, 1);
    assert_eq!((&answer["kind"], &answer["rows"]), (&"chunk_timeout".into(), &0.into()), "{answer}");
    assert!(line.contains("took longer than its limit for a statement"), "{line}");
    let (_, half) = line.split_once("give a smaller --chunk, as in `").expect("what to do");
    let (_, half) = half.split_once("seabank ").expect("the program");
    let (half, _) = half.split_once('`').expect("a command");
    assert!(half.contains("--chunk 3000 ") && half.contains("--run "), "{line}");
    let (half, _) = half.split_once(" --database-url").expect("the flags of every command come last");
    let half: Vec<&str> = half.split(' ').collect();
    let (output, answer) = seabank(&test, &url, &half);
    assert_eq!((output.status.code(), &answer["rows"]), (Some(0), &6000.into()), "{answer}");
}

/// Six thousand rows exceed the timeout.
pub(super) async fn newer_copy(test: &TestDatabase, server: Server) -> (Proxy, String) {
    let answer = |request: &Request| {
        let copies = request.text.starts_with("COPY ");
        copies.then(|| error("57014", "query execution canceled due to statement timeout")).flatten()
    };
    if server == Server::Cockroach {
        return newer(test, answer).await;
    }
    let proxy = test.proxy().await;
    proxy.play(answer);
    let url = proxy.url(test.url());
    (proxy, url)
}

pub(super) const UNLICENSED: &str =
    "No license installed. The maximum number of concurrently open transactions has been reached.";

/// v24.3: several nodes without a licence, after seven days.
pub(super) async fn a_cluster_without_a_licence_is_reported_with_advice(server: &TestServer) {
    let test = server.database().await;
    let bank = Bank::new(&test.connect().await, Policy::default());
    seed(&bank, 10, 10).await.expect("seeded");
    let (_proxy, url) = newer(&test, |request| {
        request.text.contains("BEGIN ISOLATION").then(|| error("XXC02", UNLICENSED)).flatten()
    })
    .await;
    let (output, answer) = seabank(&test, &url, &["transfer", "--retry-for", "3"]);
    let told = line(&output, 1);
    assert_eq!(answer["kind"], "throttled", "{answer}");
    for words in [
        "No license installed",
        "SET CLUSTER SETTING enterprise.license",
        "--concurrency 4",
        "nothing of it is applied",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(answer["error"].as_str().is_some_and(|error| !error.contains('\n')), "{answer}");

    // Even the first query is refused.
    let proxy = test.proxy().await;
    proxy.play(|request| (request.text == "SELECT version()").then(|| error("XXC02", UNLICENSED)).flatten());
    let (output, _) = seabank(&test, &proxy.url(test.url()), &["accounts"]);
    let told = line(&output, 5);
    assert!(told.contains("SET CLUSTER SETTING enterprise.license"), "{told}");
}
