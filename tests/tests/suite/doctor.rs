//! `doctor`: its findings. It changes nothing.

use database::{Address, Encryption, Server, encryption};
use serde_json::Value;
use tests::{OwnServer, Test, TestDatabase, TestServer, tests};

use crate::books::{everything, execute, insert_account};
use crate::reader::Reader;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_bank_that_is_well_has_nothing_to_do,
        a_retry_is_provoked_and_nothing_is_changed,
        what_is_not_migrated_is_5,
        a_server_that_is_not_there_is_one_finding_and_5,
        a_read_only_file_is_found on &[Server::Sqlite],
        a_read_only_user_is_found on &[Server::Postgres, Server::Cockroach],
        transactions_that_are_read_only_by_default_are_found on &[Server::Postgres],
        a_server_that_does_not_sync_is_found on &[Server::Postgres],
        a_pool_too_large_for_the_server_is_told on &[Server::Postgres, Server::Cockroach],
        another_server_than_the_url_says_is_told on &[Server::Postgres],
    ]
}

const CHECKS: [&str; 13] = [
    "url",
    "server",
    "pooler",
    "tls",
    "isolation",
    "durability",
    "migrations",
    "rights",
    "round_trip",
    "clock",
    "nodes",
    "pool",
    "retry",
];

struct Examined {
    code: Option<i32>,
    answer: Value,
}

impl Examined {
    fn of(test: &TestDatabase, arguments: &[&str]) -> Self {
        let command = [&["doctor", "--format", "json"], arguments].concat();
        let output = test.seabank().args(command).output().expect("it runs");
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { code: output.status.code(), answer }
    }

    fn checks(&self) -> Vec<&Value> {
        self.answer["checks"].as_array().expect("a list").iter().collect()
    }

    /// Verdict, finding, remedy.
    fn of_check(&self, name: &str) -> (&str, &str, &str) {
        let check = self.checks().into_iter().find(|check| check["check"] == name);
        let check = check.unwrap_or_else(|| panic!("{name} in {}", self.answer));
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        (text("verdict"), text("found"), text("remedy"))
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.checks().into_iter().filter(|check| check["verdict"] == "fail");
        failed.map(|check| check["check"].as_str().expect("a name")).collect()
    }
}

async fn a_bank_that_is_well_has_nothing_to_do(server: &TestServer) {
    let test = server.database().await;
    // Enough for any pool on any machine.
    let examined = Examined::of(&test, &["--server-cores", "64"]);
    assert_eq!(examined.code, Some(0), "{}", examined.answer);
    let names: Vec<&str> =
        examined.checks().iter().map(|check| check["check"].as_str().expect("a name")).collect();
    assert_eq!(names, CHECKS);
    // Depends on the machine's load.
    for name in CHECKS.into_iter().filter(|name| *name != "round_trip") {
        let (verdict, found, remedy) = examined.of_check(name);
        assert_eq!((verdict, remedy), ("ok", ""), "{name}: {found}");
    }
    let counts = ["ok", "warn", "fail"].map(|verdict| examined.answer[verdict].as_u64().expect("a count"));
    assert!(counts[0] >= 12 && counts[0] + counts[1] == 13 && counts[2] == 0, "{counts:?}");
    assert!(examined.of_check("isolation").1.starts_with("serializable"));
    let round_trip = &examined.checks()[8]["milliseconds"];
    assert!(round_trip.as_f64().is_some_and(|it| it > 0.0), "{round_trip}");

    let text = test.seabank().args(["doctor", "--server-cores", "64"]).output().expect("it runs");
    let lines = String::from_utf8(text.stdout).expect("text");
    let told: Vec<&str> = lines.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(CHECKS.iter().all(|name| told.contains(name)), "a line each: {lines}");
    assert!(lines.trim_end().ends_with(" 0 failed."), "and the total: {lines}");
}

async fn a_retry_is_provoked_and_nothing_is_changed(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 1, 10).await;
    let before = everything(&database).await;
    let examined = Examined::of(&test, &[]);
    let code = match server.server {
        Server::Sqlite => "(5)",
        Server::Postgres => "40P01",
        Server::Cockroach => "40001",
    };
    let (verdict, found, _) = examined.of_check("retry");
    assert!(verdict == "ok" && found.contains(code) && found.contains("run again"), "{found}");
    assert!(everything(&database).await == before);
}

async fn what_is_not_migrated_is_5(server: &TestServer) {
    let test = server.empty_database().await;
    let examined = Examined::of(&test, &[]);
    assert_eq!((examined.code, examined.failed()), (Some(5), vec!["migrations"]));
    assert!(examined.of_check("migrations").2.contains("seabank migrate up"));
    assert_eq!(examined.of_check("rights").1, "this user may make the bank's tables");
    let error = examined.answer["error"].as_str().expect("a line");
    assert!(error.contains("migrations") && error.contains("seabank migrate up"), "{error}");
}

async fn a_server_that_is_not_there_is_one_finding_and_5(server: &TestServer) {
    let test = server.database().await;
    let nobody = "postgres://bank:s3cret@127.0.0.1:1/bank";
    let examined = Examined::of(&test, &["--database-url", nobody]);
    assert_eq!((examined.code, examined.failed()), (Some(5), vec!["connection"]));
    let (_, found, _) = examined.of_check("connection");
    assert!(found.contains("127.0.0.1:1") && found.contains("start it"), "{found}");
    assert_eq!(examined.answer["error"], found);
    assert!(!examined.answer.to_string().contains("s3cret"), "{}", examined.answer);
}

async fn a_read_only_file_is_found(server: &TestServer) {
    let test = server.database().await;
    let read_only = test.url().replace("mode=rwc", "mode=ro");
    let examined = Examined::of(&test, &["--database-url", &read_only]);
    assert_eq!(examined.code, Some(1));
    assert!(examined.failed().contains(&"rights"), "{}", examined.answer);
    assert!(examined.of_check("rights").2.contains("mode=ro"));
}

async fn a_read_only_user_is_found(server: &TestServer) {
    let test = server.database().await;
    let reader = Reader::of(&test).await;
    let examined = Examined::of(&test, &["--database-url", &reader.url]);
    assert_eq!((examined.code, examined.failed()), (Some(1), vec!["rights"]));
    let (_, found, remedy) = examined.of_check("rights");
    for right in ["INSERT accounts", "UPDATE accounts", "INSERT transfers"] {
        assert!(found.contains(right), "{found}");
    }
    assert!(
        !found.contains("SELECT") && remedy.contains("seabank init --database-url URL"),
        "{found}: {remedy}"
    );
    reader.drop().await;
}

async fn transactions_that_are_read_only_by_default_are_found(server: &TestServer) {
    let test = server.database().await;
    let alter = format!("ALTER DATABASE {} SET default_transaction_read_only = on", test.name);
    execute(&test.connect().await, &alter).await;
    let examined = Examined::of(&test, &[]);
    assert_eq!((examined.code, examined.failed()), (Some(1), vec!["rights"]));
    assert!(examined.of_check("rights").1.contains("read-only"), "{}", examined.answer);
}

async fn a_server_that_does_not_sync_is_found(server: &TestServer) {
    let own = OwnServer::start(server).await.expect("it starts").expect("there is a program");
    let test = own.bank().await;
    assert_eq!(Examined::of(&test, &["--server-cores", "64"]).failed(), [""; 0]);
    let admin = own.admin().await;
    execute(&admin, "ALTER SYSTEM SET fsync = off").await;
    execute(&admin, "SELECT pg_reload_conf()").await;
    while tests::scalar(&admin, "SELECT (current_setting('fsync') = 'on')::int4").await == 1 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let examined = Examined::of(&test, &[]);
    assert_eq!((examined.code, examined.failed()), (Some(1), vec!["durability"]));
    let (_, found, remedy) = examined.of_check("durability");
    assert!(found.contains("fsync off") && remedy.contains("fsync = on"), "{found}: {remedy}");
}

async fn a_pool_too_large_for_the_server_is_told(server: &TestServer) {
    let test = server.database().await;
    let examined = Examined::of(&test, &["--pool", "9", "--server-cores", "2"]);
    let (verdict, found, remedy) = examined.of_check("pool");
    assert_eq!((examined.code, verdict), (Some(0), "warn"), "{found}");
    assert!(remedy.contains("--pool 8"), "{remedy}");
    if server.server == Server::Postgres {
        let examined = Examined::of(&test, &["--pool", "5000", "--server-cores", "2000"]);
        let (verdict, found, remedy) = examined.of_check("pool");
        assert!(verdict == "warn" && remedy.contains("max_connections"), "{found}: {remedy}");
    }
}

async fn another_server_than_the_url_says_is_told(server: &TestServer) {
    let test = server.database().await;
    let url = test.url().replacen("postgres://", "cockroachdb://", 1);
    let examined = Examined::of(&test, &["--database-url", &url]);
    let (verdict, found, _) = examined.of_check("server");
    assert!(verdict == "warn" && found.contains("PostgreSQL"), "{found}");
    // Without a certificate on the server `prefer` is off, and `require` fails.
    let address = Address::parse(test.url()).expect("a good URL");
    assert_eq!(encryption(&address).await.expect("it answers"), Some(Encryption::Off));
}
