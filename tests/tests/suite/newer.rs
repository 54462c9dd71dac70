//! Newer CockroachDB, imitated by a proxy that sends its documented answers.
//! `docs/compatibility.md` names these tests.

mod limits;
mod schema;

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use database::{Address, Options, Server, connect};
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use serde_json::Value;
use tests::{Kind, Played, Proxy, Request, Test, TestDatabase, TestServer, scalar, tests};

use crate::books::{execute, seed};
use crate::generic::GenericPlans;
use crate::plans::{analyze, scans};

use limits::{a_chunk_that_times_out_suggests_its_flag, a_cluster_without_a_licence_is_reported_with_advice};
pub(crate) use schema::LOCKED;
use schema::{
    a_database_and_a_user_missing_from_the_catalog_are_accepted, a_migration_names_a_locked_table,
    a_table_missing_from_the_catalog_is_accepted, an_import_names_a_locked_table,
    the_first_up_does_not_loop_on_a_slow_cluster, the_migration_lock_holds_with_buffered_writes,
};

const COCKROACH: &[Server] = &[Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        closed_internals_are_opened on COCKROACH,
        internals_that_stay_closed_are_reported_with_advice on COCKROACH,
        an_audit_beyond_the_kept_history_is_refused on COCKROACH,
        the_first_up_does_not_loop_on_a_slow_cluster on COCKROACH,
        the_migration_lock_holds_with_buffered_writes on COCKROACH,
        a_migration_names_a_locked_table on COCKROACH,
        an_import_names_a_locked_table on COCKROACH,
        a_table_missing_from_the_catalog_is_accepted on COCKROACH,
        a_database_and_a_user_missing_from_the_catalog_are_accepted on &[Server::Postgres, Server::Cockroach],
        a_generic_plan_that_scans_is_found on COCKROACH,
        statistics_wait_for_automatic_ones on COCKROACH,
        a_chunk_that_times_out_suggests_its_flag on &[Server::Postgres, Server::Cockroach],
        a_cluster_without_a_licence_is_reported_with_advice on COCKROACH,
        a_refused_setting_is_tried_once on COCKROACH,
    ]
}

const NEWER: [&str; 5] = [
    "allow_unsafe_internals",
    "autocommit_before_ddl",
    "create_table_with_schema_locked",
    "kv_transaction_buffered_writes_enabled",
    "plan_cache_mode",
];

const VERSION: &str = "SELECT 'CockroachDB CCL v26.2.7 (played)' AS version";

/// Imitates v26.2: accepts its settings, then calls `answer`.
pub(crate) async fn newer(
    test: &TestDatabase,
    mut answer: impl FnMut(&Request) -> Option<Played> + Send + 'static,
) -> (Proxy, String) {
    let proxy = test.proxy().await;
    proxy.play(move |request| answer(request).or_else(|| as_newer(&request.text)));
    let url = proxy.url(test.url());
    (proxy, url)
}

fn as_newer(text: &str) -> Option<Played> {
    if text == "SELECT version()" {
        return Some(Played::Text(VERSION.to_owned()));
    }
    if text == "SHOW allow_unsafe_internals" {
        return Some(Played::Text("SELECT 'on'".to_owned()));
    }
    if !NEWER.iter().any(|setting| text.contains(setting)) {
        return None;
    }
    let known = |text: &&str| !NEWER.iter().any(|setting| text.contains(setting));
    let rest: Vec<&str> = text.split("; ").filter(known).collect();
    Some(Played::Text(if rest.is_empty() { "SET application_name = ''".to_owned() } else { rest.join("; ") }))
}

pub(crate) fn error(code: &'static str, message: &'static str) -> Option<Played> {
    Some(Played::Error { code, message })
}

fn seabank(test: &TestDatabase, url: &str, arguments: &[&str]) -> (Output, Value) {
    let mut seabank = test.seabank();
    let output = seabank.args(arguments).args(["--format", "json", "--database-url", url]).output();
    let output = output.expect("the command runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, answer)
}

fn line(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = lines[..] else { panic!("one line, not {errors}") };
    line.to_owned()
}

fn migration(test: &TestDatabase, url: &str, arguments: &[&str]) -> Output {
    test.migration().args(arguments).args(["--database-url", url]).output().expect("the command runs")
}

const CLOSED: &str = "Access to crdb_internal and system is restricted.";

/// v26.1 denies `crdb_internal` even to root, unless the session requests it.
async fn closed_internals_are_opened(server: &TestServer) {
    let test = server.database().await;
    let (mut open, refused) = (BTreeSet::new(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&refused);
    let (_proxy, url) = newer(&test, move |request| {
        if request.text.contains("SET allow_unsafe_internals = on") {
            open.insert(request.connection);
        }
        if !request.text.contains("crdb_internal") || open.contains(&request.connection) {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        error("42501", CLOSED)
    })
    .await;
    let (output, answer) = seabank(&test, &url, &["doctor", "--server-cores", "64"]);
    assert_eq!((output.status.code(), refused.load(Ordering::Relaxed)), (Some(0), 0), "{answer}");
    for check in ["durability", "nodes", "retry"] {
        let found = answer["checks"].as_array().and_then(|all| all.iter().find(|it| it["check"] == check));
        assert_eq!(found.expect("a finding")["verdict"], "ok", "{answer}");
    }
    let options = Options { internals: true, ..Options::default() };
    let database =
        connect(&Address::parse(&url).expect("a good URL"), &options).await.expect("the server answers");
    assert!(scalar(&database, "SELECT count(*) FROM crdb_internal.gossip_nodes").await > 0);
}

async fn internals_that_stay_closed_are_reported_with_advice(server: &TestServer) {
    let test = server.database().await;
    let (_proxy, url) = newer(&test, |request| match request.text.as_str() {
        "SHOW allow_unsafe_internals" => Some(Played::Text("SELECT 'off'".to_owned())),
        text if text.contains("crdb_internal") => error("42501", CLOSED),
        _ => None,
    })
    .await;
    let (_, answer) = seabank(&test, &url, &["doctor", "--server-cores", "64"]);
    let told = answer.to_string();
    assert!(told.contains("SET allow_unsafe_internals = on"), "{told}");
    assert!(!told.contains("look once as an administrator"), "{told}");
}

/// v23.1 keeps 4 h of history, earlier versions 25 h; here 10 min.
async fn an_audit_beyond_the_kept_history_is_refused(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    execute(&database, "ALTER TABLE transfers CONFIGURE ZONE USING gc.ttlseconds = 600").await;
    for (command, flag) in [("audit", "--as-of"), ("workload", "--audit-as-of")] {
        let (output, _) = seabank(&test, test.url(), &[command, flag, "1h"]);
        let line = line(&output, 1);
        let expected = format!(
            "1h ago is further back than the server keeps the bank's past, 10m: give a shorter {flag}"
        );
        assert!(line.contains(&expected), "{line}");
    }
}

/// v25.2 has generic plans; here the generic plan scans.
async fn a_generic_plan_that_scans_is_found(server: &TestServer) {
    let test = server.database().await;
    assert!(GenericPlans::on(&test.connect().await).await.is_none(), "no tested server has generic plans");
    let forced = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&forced);
    let (_proxy, url) = newer(&test, move |request| {
        asked.fetch_or(request.text == "SET plan_cache_mode = force_generic_plan", Ordering::Relaxed);
        let explains = request.text == "EXPLAIN ANALYZE EXECUTE hot(CAST(7 AS int8))";
        explains.then(|| Played::Text("EXPLAIN SELECT * FROM accounts WHERE balance = 1".to_owned()))
    })
    .await;
    let address = Address::parse(&url).expect("a good URL");
    let database = connect(&address, &Options::default()).await.expect("the server answers");
    let mut generic = GenericPlans::on(&database).await.expect("this server has generic plans");
    let sought = sea_orm::Statement::from_sql_and_values(
        database.connection.get_database_backend(),
        "SELECT * FROM accounts WHERE id = $1",
        [7_i64.into()],
    );
    let plan = generic.plan(&sought).await;
    assert!(scans(Server::Cockroach, &plan) && forced.load(Ordering::Relaxed), "{plan:?}");
}

/// v26.1 allows one statistics job per table, including automatic ones.
async fn statistics_wait_for_automatic_ones(server: &TestServer) {
    let test = server.database().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let (_proxy, url) = newer(&test, move |request| {
        if !request.text.starts_with("CREATE STATISTICS") || request.kind == Kind::Execute {
            return None;
        }
        let time = count.fetch_add(1, Ordering::Relaxed) + 1;
        let refused = [1, 2, 3, 5, 6].contains(&time);
        refused.then(|| error("XXUUU", "another CREATE STATISTICS job is already running")).flatten()
    })
    .await;
    let address = Address::parse(&url).expect("a good URL");
    let database = connect(&address, &Options::default()).await.expect("the server answers");
    analyze(&database, &["accounts"]).await;
    assert_eq!(sent.load(Ordering::Relaxed), 4);
    seed(&Bank::new(&database, Policy::default()), 10, 10).await.expect("seeded");
    assert_eq!(sent.load(Ordering::Relaxed), 7);
}

/// Only the first session tries it.
async fn a_refused_setting_is_tried_once(server: &TestServer) {
    let test = server.database().await;
    let offered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&offered);
    let proxy = test.proxy().await;
    proxy.play(move |request| {
        if request.text == "SELECT version()" {
            return Some(Played::Text(VERSION.to_owned()));
        }
        count.fetch_add(usize::from(request.text.contains("allow_unsafe_internals")), Ordering::Relaxed);
        None
    });
    let options = Options { internals: true, max_connections: 4, ..Options::default() };
    let address = Address::parse(&proxy.url(test.url())).expect("a good URL");
    let database = connect(&address, &options).await.expect("the server answers");
    let pool = database.connection.get_postgres_connection_pool();
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(pool.acquire().await.expect("a session"));
    }
    // With the other settings, then alone.
    assert_eq!(offered.load(Ordering::Relaxed), 2);
}
