//! Fewer connections than requested: one warning with the server's reason, and the work continues.

use std::time::Duration;

use database::Server;
use serde_json::Value;
use tests::{Test, TestDatabase, TestServer, tests};

use crate::books::{execute, insert_account};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        work_continues_with_fewer_connections on POSTGRES,
        a_connection_that_becomes_free_in_time_is_used on POSTGRES,
        doctor_names_the_limit on POSTGRES,
    ]
}

const POSTGRES: &[Server] = &[Server::Postgres];

struct Limited {
    test: TestDatabase,
    role: String,
}

impl Limited {
    async fn new(server: &TestServer, limit: &str) -> Self {
        let test = server.database().await;
        let role = format!("{}_few", test.name);
        let database = test.connect_for_analysis().await;
        for id in 1..=50 {
            insert_account(&database, id, 1000).await;
        }
        for sql in [
            format!("CREATE ROLE {role} LOGIN"),
            format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"),
            limit
                .replace("ROLE", &format!("ROLE {role}"))
                .replace("DATABASE", &format!("DATABASE {}", test.name)),
        ] {
            execute(&database, &sql).await;
        }
        Self { test, role }
    }

    fn url(&self) -> String {
        self.test.url().replace("postgres@", &format!("{}@", self.role))
    }

    async fn drop(self) {
        let database = self.test.connect_for_analysis().await;
        execute(&database, &format!("DROP OWNED BY {}", self.role)).await;
        execute(&database, &format!("DROP ROLE {}", self.role)).await;
    }
}

async fn work_continues_with_fewer_connections(server: &TestServer) {
    for limit in ["ALTER ROLE CONNECTION LIMIT 3", "ALTER DATABASE CONNECTION LIMIT 3"] {
        let limited = Limited::new(server, limit).await;
        for arguments in [
            &["workload", "--max-ops", "200", "--concurrency", "8"][..],
            &["transfer", "--count", "100", "--concurrency", "8"],
            &["seed", "--count", "100", "--chunk", "10", "--concurrency", "8"],
        ] {
            let mut command = limited.test.seabank();
            let output = command
                .args(arguments)
                .env("DATABASE_URL", limited.url())
                .output()
                .expect("the command runs");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{limit}, {arguments:?}: {told}");
            assert_eq!(told.matches("too many connections for").count(), 1, "{limit}, {arguments:?}: {told}");
        }
        limited.drop().await;
    }
}

async fn a_connection_that_becomes_free_in_time_is_used(server: &TestServer) {
    let limited = Limited::new(server, "ALTER ROLE CONNECTION LIMIT 1").await;
    let occupied = sea_orm::Database::connect(limited.url()).await.expect("the first");
    let mut command = limited.test.program("seabank");
    command.args(["accounts", "--retry-for", "60"]).env("DATABASE_URL", limited.url());
    let waiting = command.stdout(std::process::Stdio::null()).spawn();
    let mut waiting = waiting.expect("the process starts");
    let given_up = limited
        .test
        .seabank()
        .args(["accounts", "--retry-for", "1", "--quiet"])
        .env("DATABASE_URL", limited.url())
        .output();
    let given_up = given_up.expect("the command runs");
    let told = String::from_utf8_lossy(&given_up.stderr);
    assert!(given_up.status.code() == Some(5) && told.contains("too many connections for role"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    occupied.close().await.expect("the connection closes");
    while waiting.try_wait().expect("the process is polled").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(waiting.wait().expect("the process ends").success());
    limited.drop().await;
}

async fn doctor_names_the_limit(server: &TestServer) {
    for (limit, what) in
        [("ALTER ROLE CONNECTION LIMIT 4", "role "), ("ALTER DATABASE CONNECTION LIMIT 4", "database ")]
    {
        let limited = Limited::new(server, limit).await;
        let mut command = limited.test.seabank();
        let output = command.args(["doctor", "--format", "json"]).env("DATABASE_URL", limited.url()).output();
        let output = output.expect("the command runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
        let checks = answer["checks"].as_array().expect("a list");
        let pool = checks.iter().find(|check| check["check"] == "pool").expect("it is looked at");
        let found = pool["found"].as_str().expect("text");
        assert!(pool["verdict"] == "warn" && found.contains(&format!("of 4 that the {what}")), "{found}");
        limited.drop().await;
    }
}
