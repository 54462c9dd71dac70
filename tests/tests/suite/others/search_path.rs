//! Other schemas of the search path.

use database::Server;
use tests::TestServer;

use super::{count, is_refused, one_line, run, succeeds};
use crate::books::execute;

pub(super) fn users_schema(server: &TestServer) -> &'static str {
    if server.server == Server::Cockroach { "root" } else { "postgres" }
}

pub(super) async fn a_schema_in_front_of_the_banks_is_named(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    test.seabank().arg("demo").assert().success();
    let schema = users_schema(server);
    execute(&database, &format!("CREATE SCHEMA {schema}")).await;
    let both = [format!("\"{schema}\""), "\"public\"".to_owned(), "search_path".to_owned()];
    let both = both.each_ref().map(String::as_str);
    for arguments in [&["down", "-n", "1"][..], &["refresh"], &["reset"], &["fresh", "--yes"]] {
        is_refused(&test, arguments, &both);
    }
    assert!(succeeds(&test, &["up"]).starts_with("Nothing to apply"));
    assert_eq!(succeeds(&test, &["status"]).matches("Applied").count(), migration::total());
    test.seabank().arg("demo").assert().success();
    test.seabank().args(["accounts"]).assert().success();
    let examined = run(test.program("seabank"), &["doctor"]);
    let found = String::from_utf8_lossy(&examined.stdout);
    assert!(both.iter().all(|word| found.contains(word)), "{found}");
    assert_eq!(count(&database, "public.accounts").await, 200);
}

pub(super) async fn a_bank_in_two_schemas_is_refused(server: &TestServer) {
    let schema = users_schema(server);
    for made in
        ["seaql_migrations (version TEXT PRIMARY KEY, applied_at BIGINT)", "accounts (id BIGINT PRIMARY KEY)"]
    {
        let test = server.empty_database().await;
        let database = test.connect_for_analysis().await;
        test.seabank().arg("demo").assert().success();
        execute(&database, &format!("CREATE SCHEMA {schema}")).await;
        execute(&database, &format!("CREATE TABLE {schema}.{made}")).await;
        let both = [format!("\"{schema}\""), "\"public\"".to_owned()];
        let both = both.each_ref().map(String::as_str);
        for arguments in [&["up"][..], &["down"], &["status"], &["refresh"], &["reset"]] {
            is_refused(&test, arguments, &both);
        }
        for arguments in [&["accounts"][..], &["transfer"], &["seed", "--quiet"], &["audit"]] {
            let (code, line) = one_line(&run(test.program("seabank"), arguments));
            assert_eq!(code, Some(1), "{arguments:?}: {line}");
            assert!(both.iter().all(|word| line.contains(word)), "{line}");
        }
        assert_eq!(count(&database, "public.accounts").await, 100);
    }
}

/// The bank's schema comes first.
pub(super) async fn a_schema_behind_the_banks_is_ignored(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "CREATE TABLE seaql_migrations (version TEXT PRIMARY KEY, applied_at BIGINT)").await;
    execute(&database, "INSERT INTO seaql_migrations VALUES ('m20200101_000001_theirs', 0)").await;
    execute(&database, "CREATE TABLE theirs (id BIGINT PRIMARY KEY)").await;
    let schema = users_schema(server);
    execute(&database, &format!("CREATE SCHEMA {schema}")).await;
    execute(
        &database,
        &format!("CREATE TABLE {schema}.seaql_migrations (version TEXT PRIMARY KEY, applied_at BIGINT)"),
    )
    .await;
    test.seabank().arg("demo").assert().success();
    assert_eq!(count(&database, &format!("{schema}.accounts")).await, 100);
    succeeds(&test, &["reset"]);
    assert_eq!(count(&database, "public.theirs").await, 0);
    assert_eq!(count(&database, "public.seaql_migrations").await, 1);
}
