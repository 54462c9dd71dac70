//! PgBouncer: session mode works, every other mode is refused in one line, and shared sessions keep
//! no settings.

use std::process::Output;

use database::Server;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{PgPool, Row};
use tests::{PgBouncer, Test, TestDatabase, TestServer, command, tests};

use crate::books::{everything, insert_account};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_pooler_in_transaction_or_statement_mode_is_refused on POSTGRES,
        a_pooler_in_session_mode_changes_nothing on POSTGRES,
        a_parameter_unknown_to_the_pooler_is_named on POSTGRES,
    ]
}

const POSTGRES: &[Server] = &[Server::Postgres];

fn run(program: &str, arguments: &[&str], url: &str) -> (Option<i32>, Output) {
    let output =
        command(program).args(arguments).env("DATABASE_URL", url).output().expect("the command runs");
    (output.status.code(), output)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As another program finds them.
async fn settings(url: &str) -> Vec<String> {
    let options: PgConnectOptions = url.parse().expect("a good URL");
    let session = PgPool::connect_with(options.extra_float_digits(None)).await.expect("the pooler answers");
    let sql = "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source = 'session' \
               AND name NOT IN ('client_encoding', 'DateStyle', 'TimeZone', 'extra_float_digits', 'application_name')";
    let mut found = Vec::new();
    for _ in 0..4 {
        // Unprepared: statement names are shared.
        let row = sea_orm::sqlx::raw_sql(sql).fetch_one(&session).await.expect("readable");
        found.extend(row.try_get::<Option<String>, _>(0).expect("text"));
    }
    session.close().await;
    found
}

async fn bank(server: &TestServer) -> TestDatabase {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=20 {
        insert_account(&database, id, 1000).await;
    }
    test
}

async fn a_pooler_in_transaction_or_statement_mode_is_refused(server: &TestServer) {
    let Some(program) = PgBouncer::find() else { return };
    let test = bank(server).await;
    let before = everything(&test.connect().await).await;
    for (mode, pool, ignored) in [
        ("transaction", 5, "extra_float_digits"),
        ("transaction", 5, "extra_float_digits,options"),
        ("transaction", 1, "options"),
        ("transaction", 5, ""),
        ("statement", 5, ""),
        ("statement", 1, "options"),
    ] {
        let settings_of = [
            format!("pool_mode = {mode}"),
            format!("default_pool_size = {pool}"),
            format!("ignore_startup_parameters = {ignored}"),
        ];
        let pooler = PgBouncer::start(&program, test.url(), &settings_of.each_ref().map(String::as_str))
            .await
            .expect("PgBouncer starts");
        let url = pooler.url(test.url());
        for (name, arguments) in [
            ("seabank", &["transfer", "--count", "20", "--concurrency", "4"][..]),
            ("seabank", &["audit"]),
            ("seabank", &["doctor"]),
            ("seabank", &["import", "-"]),
            ("migration", &["status"]),
            ("migration", &["up"]),
        ] {
            let (code, output) = run(name, arguments, &url);
            let told = errors(&output);
            assert_eq!(code, Some(5), "{mode}, {pool}, {ignored}, {arguments:?}: {told}");
            for word in ["transaction or statement mode", "pool_mode = session", "the server itself"] {
                assert!(told.contains(word), "{mode}, {pool}, {ignored}, {arguments:?}: {told}");
            }
            assert!(!told.contains("password"), "{told}");
        }
        assert_eq!(settings(&url).await, [""; 0], "{mode}: no settings stay");
    }
    assert!(everything(&test.connect().await).await == before);
}

async fn a_pooler_in_session_mode_changes_nothing(server: &TestServer) {
    let Some(program) = PgBouncer::find() else { return };
    for ignored in ["", "options", "options,extra_float_digits"] {
        let test = bank(server).await;
        let ignored = format!("ignore_startup_parameters = {ignored}");
        let pooler = PgBouncer::start(&program, test.url(), &["pool_mode = session", &ignored])
            .await
            .expect("PgBouncer starts");
        let url = pooler.url(test.url());
        for (name, arguments) in [
            ("migration", &["status"][..]),
            ("seabank", &["transfer", "--count", "50", "--concurrency", "4"]),
            ("seabank", &["workload", "--max-ops", "100", "--concurrency", "4"]),
            ("seabank", &["audit"]),
            ("seabank", &["export", "accounts"]),
            ("migration", &["refresh"]),
        ] {
            let (code, output) = run(name, arguments, &url);
            assert_eq!(code, Some(0), "{arguments:?}: {}", errors(&output));
        }
        let (code, output) = run("seabank", &["doctor", "--format", "json"], &url);
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("one in session mode"), "{told}");
    }
}

async fn a_parameter_unknown_to_the_pooler_is_named(server: &TestServer) {
    let Some(program) = PgBouncer::find() else { return };
    let test = bank(server).await;
    let pooler =
        PgBouncer::start(&program, test.url(), &["pool_mode = session"]).await.expect("PgBouncer starts");
    let url = pooler.url(test.url()) + "&options=-c%20search_path%3Dpublic";
    let (code, output) = run("seabank", &["accounts"], &url);
    let told = errors(&output);
    assert!(
        code == Some(5) && told.contains("ignore_startup_parameters") && told.contains("options"),
        "{told}"
    );
    // This pooler is configured to drop the options silently.
    let settings = ["pool_mode = session", "ignore_startup_parameters = options"];
    let pooler = PgBouncer::start(&program, test.url(), &settings).await.expect("PgBouncer starts");
    let url = pooler.url(test.url()) + "&options=-c%20search_path%3Dpublic";
    let (code, output) = run("seabank", &["accounts"], &url);
    let told = errors(&output);
    assert!(code == Some(5) && told.contains("drops the URL's options"), "{told}");
}
