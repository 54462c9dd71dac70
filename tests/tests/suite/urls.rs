//! Database URLs as users write them: invalid ones are refused, and no secret is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use database::Server;
use tests::{OwnServer, Postgres, Test, TestServer, command, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_unknown_parameter_is_refused_and_named on WIRE,
        a_harmless_parameter_of_libpq_is_reported on WIRE,
        no_secret_is_shown on WIRE,
        an_invalid_url_is_reported on &[Server::Sqlite],
        a_search_path_is_given_by_options on POSTGRES,
        a_password_file_readable_by_others_is_reported on POSTGRES,
        an_ipv6_address_connects on POSTGRES,
        sessions_are_named_after_their_command on WIRE,
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];
const POSTGRES: &[Server] = &[Server::Postgres];

const READING: [(&str, &str); 2] = [("seabank", "accounts"), ("migration", "status")];

fn run(program: &str, argument: &str, url: &str) -> (Option<i32>, String) {
    let output = command(program).arg(argument).env("DATABASE_URL", url).output().expect("the command runs");
    (output.status.code(), all(&output))
}

fn all(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

async fn an_unknown_parameter_is_refused_and_named(server: &TestServer) {
    let test = server.database().await;
    for (parameter, name, meant) in [
        ("SSLMODE=verify-full", "`SSLMODE`", "sslmode"),
        ("ssl_mode=verify-full", "`ssl_mode`", "sslmode"),
        ("search_path=app1", "`search_path`", "options=-c%20search_path"),
        ("target_session_attrs=read-write", "`target_session_attrs`", "takes writes"),
        ("channel_binding=require", "`channel_binding`", "sslmode=verify-full"),
        ("sslnegotiation=direct", "`sslnegotiation`", "leave it out"),
        ("whatever=1", "`whatever`", "leave it out"),
    ] {
        let url = format!("{}&{parameter}", test.url());
        for (program, argument) in READING {
            let (code, told) = run(program, argument, &url);
            assert_eq!(code, Some(2), "{parameter}: {told}");
            assert!(
                told.contains(name) && told.contains(meant) && told.lines().count() == 1,
                "{parameter}: {told}"
            );
        }
    }
}

async fn a_harmless_parameter_of_libpq_is_reported(server: &TestServer) {
    let test = server.database().await;
    let url = format!("{}&connect_timeout=10&keepalives=1", test.url());
    for (program, argument) in READING {
        let (code, told) = run(program, argument, &url);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("connect_timeout, keepalives are not used"), "{told}");
    }
}

async fn no_secret_is_shown(server: &TestServer) {
    let test = server.database().await;
    for parameter in
        ["password=s3cret", "options=-c%20app.token=s3cret", "sslpassword=s3cret", "PASSWORD=s3cret"]
    {
        // No server listens there.
        let nowhere = "postgres://bank@127.0.0.1:1/bank?sslmode=disable";
        for url in [format!("{}&{parameter}", test.url()), format!("{nowhere}&{parameter}")] {
            for (program, argument) in [READING[0], READING[1], ("seabank", "doctor"), ("seabank", "demo")] {
                let (_, told) = run(program, argument, &url);
                assert!(!told.contains("s3cret"), "{argument} {parameter}: {told}");
            }
        }
    }
}

async fn an_invalid_url_is_reported(server: &TestServer) {
    let test = server.database().await;
    let quoted = format!("\"{}\"", test.url());
    for (url, words) in [
        ("", "DATABASE_URL"),
        ("  ", "it is empty"),
        (quoted.as_str(), "docker run --env-file"),
        ("'postgres://bank@localhost/bank'", "docker run --env-file"),
        ("postgres://bank:pa/s3cret@localhost:5432/bank", "percent-encoded"),
        ("postgres://bank:12?s3cret@localhost:5432/bank", "percent-encoded"),
        ("postgres://bank:pa#s3cret@localhost:5432/bank", "percent-encoded"),
        ("postgres://bank:pa%s3cret@localhost:5432/bank", "percent-encoded"),
        ("postgres://bank@one:5432,two:5432/bank", "several hosts"),
        ("postgres://bank@localhost/bank?sslrootcert=system&sslmode=require", "verify-full"),
    ] {
        for (program, argument) in READING {
            let (code, told) = run(program, argument, url);
            assert!(code == Some(2) && told.contains(words) && told.lines().count() == 1, "{url}: {told}");
            assert!(!told.contains("s3cret"), "{url}: {told}");
        }
    }
    let (code, told) = run("seabank", "accounts", "postgres://bank@127.0.0.1:1/bank?sslrootcert=system");
    assert!(code == Some(5) && !told.contains("cannot be read"), "{told}");
}

async fn a_search_path_is_given_by_options(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    crate::books::execute(&database, "CREATE SCHEMA app1").await;
    let url = format!("{}&options=-c%20search_path%3Dapp1", test.url());
    let (code, told) = run("seabank", "doctor", &url);
    assert!(code == Some(5) && told.contains("may make the bank's tables"), "{told}");
    let (code, told) = run("migration", "up", &url);
    assert_eq!(code, Some(0), "{told}");
    let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = 'app1' AND tablename = 'accounts'";
    assert_eq!(tests::scalar(&database, sql).await, 1);
    let (code, told) = run("seabank", "doctor", &url);
    assert!(code == Some(0) && told.contains("may read and write all"), "{told}");
}

async fn a_password_file_readable_by_others_is_reported(server: &TestServer) {
    let test = server.database().await;
    let folder = tempfile::TempDir::new().expect("the folder is created");
    let file = folder.path().join("pgpass");
    fs::write(&file, "*:*:*:*:s3cret\n").expect("the file is written");
    for (mode, is_told) in [(0o644, true), (0o640, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("owned by this user");
        for (program, argument) in READING {
            let mut command = command(program);
            command.arg(argument).env("DATABASE_URL", test.url()).env("PGPASSFILE", &file);
            let output = command.output().expect("the command runs");
            let told = all(&output);
            assert!(output.status.success(), "{told}");
            assert_eq!(told.contains("others may read it"), is_told, "{mode:o}: {told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}

async fn an_ipv6_address_connects(_: &TestServer) {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let programs = Postgres::find().expect("PostgreSQL's programs are installed");
    let mut server = Postgres::start(&programs).await.expect("the server starts");
    server.restart_with(vec!["listen_addresses=127.0.0.1,::1".to_owned()]).await.expect("the server starts");
    let own = OwnServer::Postgres(server);
    let bank = own.bank().await;
    let url = bank.url().replace("127.0.0.1", "[::1]");
    for (program, argument) in READING {
        let (code, told) = run(program, argument, &url);
        assert_eq!(code, Some(0), "{told}");
    }
}

async fn sessions_are_named_after_their_command(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    crate::books::insert_account(&database, 1, 1_000_000).await;
    crate::books::insert_account(&database, 2, 1_000_000).await;
    for (parameter, name) in [("", "seabank workload"), ("&application_name=mine", "mine")] {
        let url = format!("{}{parameter}", test.url());
        let mut working = test.spawn("seabank", &["workload", "--duration", "60s", "--database-url", &url]);
        let list = match server.server {
            Server::Cockroach => "crdb_internal.cluster_sessions",
            _ => "pg_stat_activity",
        };
        let sql = format!("SELECT count(*) FROM {list} WHERE application_name = '{name}'");
        let started = std::time::Instant::now();
        while tests::scalar(&database, &sql).await == 0 {
            assert!(started.elapsed().as_secs() < 60, "{name}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        working.kill().expect("the command runs");
        working.wait().expect("the process ends");
    }
}
