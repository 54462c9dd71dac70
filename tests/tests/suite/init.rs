//! `init`: the database, its user, and the user's rights.

mod password;
mod rights;

use std::process::{Command, Stdio};

use database::Server;
use serde_json::Value;
use tests::{OwnServer, Test, TestDatabase, TestServer, command, scalar, tests};

use crate::books::execute;
use password::{
    a_final_newline_is_not_part_of_a_password, an_interrupted_prompt_leaves_the_terminal_as_it_was,
    echo_shows_neither_password_nor_verifier,
};
use rights::{
    an_administrator_without_superuser_can_repeat_init, with_both_rights_both_are_created,
    without_the_right_to_create_users_nothing_is_created,
};

const SERVERS: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_database_and_its_user_are_created_once_and_work on SERVERS,
        the_user_may_use_what_the_administrator_migrates on SERVERS,
        a_password_is_never_stored_as_it_is on &[Server::Postgres],
        a_missing_right_is_reported on SERVERS,
        without_a_password_or_a_valid_name_nothing_is_created on SERVERS,
        sqlite_has_nothing_to_create on &[Server::Sqlite],
        sql_keywords_are_valid_names on SERVERS,
        reserved_names_are_refused_before_anything_is_created on SERVERS,
        three_concurrent_inits_succeed on SERVERS,
        an_administrator_without_superuser_can_repeat_init on &[Server::Postgres],
        without_the_right_to_create_users_nothing_is_created on SERVERS,
        with_both_rights_both_are_created on SERVERS,
        a_final_newline_is_not_part_of_a_password on &[Server::Postgres],
        echo_shows_neither_password_nor_verifier on SERVERS,
        an_interrupted_prompt_leaves_the_terminal_as_it_was on &[Server::Postgres],
    ]
}

struct NewBank {
    admin: TestDatabase,
    name: String,
}

impl NewBank {
    async fn on(server: &TestServer) -> Self {
        let admin = server.empty_database().await;
        let name = format!("{}_new", admin.name);
        Self { admin, name }
    }

    fn init(&self, url: &str, password: Option<&str>, more: &[&str]) -> Ended {
        let mut init = command("seabank");
        init.args(["init", "--format", "json"]).args(more);
        for flag in ["--database", "--user"].into_iter().filter(|flag| !more.contains(flag)) {
            init.args([flag, &self.name]);
        }
        init.env("DATABASE_URL", url).stdin(Stdio::null());
        if let Some(password) = password {
            init.env("BANK_PASSWORD", password);
        }
        Ended::of(&mut init)
    }

    async fn is_there(&self) -> bool {
        let sql = format!("SELECT count(*) FROM pg_catalog.pg_database WHERE datname = '{}'", self.name);
        scalar(&self.admin.connect().await, &sql).await == 1
    }

    /// The server may be shared.
    async fn drop(self) {
        let database = self.admin.connect().await;
        let cascade = if database.server == Server::Cockroach { " CASCADE" } else { "" };
        execute(&database, &format!("DROP DATABASE {}{cascade}", self.name)).await;
        execute(&database, &format!("DROP USER {}", self.name)).await;
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    answer: Value,
    errors: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the process starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        let answer = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{errors}"));
        Self { code: output.status.code(), answer, errors }
    }

    fn url(&self) -> &str {
        self.answer["url"].as_str().unwrap_or_else(|| panic!("a URL: {self:?}"))
    }
}

fn seabank(url: &str, arguments: &[&str]) -> Ended {
    Ended::of(command("seabank").args(arguments).args(["--format", "json"]).env("DATABASE_URL", url))
}

fn migrate(url: &str) {
    let status = command("migration").arg("up").env("DATABASE_URL", url).stdout(Stdio::null()).status();
    assert!(status.expect("the process starts").success(), "{url}");
}

async fn a_database_and_its_user_are_created_once_and_work(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let password = if server.server == Server::Cockroach { "insecure" } else { "set" };
    for new in [true, false] {
        let ended = fresh.init(fresh.admin.url(), Some("s3cret"), &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.answer["database_created"], new, "{ended:?}");
        assert_eq!(ended.answer["user_created"], new, "{ended:?}");
        assert_eq!(ended.answer["password"], password, "{ended:?}");
        assert!(!format!("{ended:?}").contains("s3cret"), "{ended:?}");
        let url = ended.url();
        assert!(url.contains(&format!("//{}@", fresh.name)), "{ended:?}");
        if new {
            migrate(url);
        }
        let demo = seabank(url, &["demo"]);
        assert_eq!((demo.code, &demo.answer["audit"]["ok"]), (Some(0), &Value::Bool(true)), "{demo:?}");
    }
    fresh.drop().await;
}

async fn the_user_may_use_what_the_administrator_migrates(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let ended = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["password"]), (Some(0), &"not_given".into()), "{ended:?}");
    // Tables created after the grants.
    migrate(&fresh.admin.url().replacen(&format!("/{}", fresh.admin.name), &format!("/{}", fresh.name), 1));
    let demo = seabank(ended.url(), &["demo"]);
    assert_eq!((demo.code, &demo.answer["audit"]["ok"]), (Some(0), &Value::Bool(true)), "{demo:?}");
    // Tables created before the grants.
    let again = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    fresh.drop().await;
}

async fn a_password_is_never_stored_as_it_is(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let ended = fresh.init(fresh.admin.url(), Some("it's \\ s3cret"), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let sql = format!(
        "SELECT count(*) FROM pg_authid WHERE rolname = '{}' AND rolpassword LIKE 'SCRAM-SHA-256$4096:%'",
        fresh.name
    );
    assert_eq!(scalar(&fresh.admin.connect().await, &sql).await, 1);
    fresh.drop().await;
}

async fn a_missing_right_is_reported(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let user = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    let other = format!("{}_other", fresh.name);
    let ended = fresh.init(user.url(), None, &["--no-password", "--database", &other]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    fresh.drop().await;
}

async fn without_a_password_or_a_valid_name_nothing_is_created(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    for (more, word) in [
        (&[][..], "BANK_PASSWORD"),
        (&["--database", "Bank"], "--database"),
        (&["--user", "x; DROP DATABASE bank"], "--user"),
    ] {
        let ended = fresh.init(fresh.admin.url(), None, more);
        assert_eq!(ended.code, Some(2), "{more:?}: {ended:?}");
        assert!(ended.errors.contains(word), "{more:?}: {ended:?}");
    }
    assert!(!fresh.is_there().await);
}

async fn sqlite_has_nothing_to_create(server: &TestServer) {
    let test = server.empty_database().await;
    let ended = seabank(test.url(), &["init", "--no-password"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.errors.contains("SQLite has no databases or users"), "{ended:?}");
}

/// Names that need quotes. They are not unique, so they need their own server.
async fn sql_keywords_are_valid_names(server: &TestServer) {
    let Some(own) = OwnServer::start(server).await.expect("the server starts") else { return };
    let admin = own.bank().await;
    for (database, user) in [("order", "user"), ("table", "select"), ("default", "grant")] {
        for again in [false, true] {
            let names = ["init", "--no-password", "--database", database, "--user", user];
            let ended = seabank(admin.url(), &names);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert_eq!(ended.answer["database_created"], !again, "{ended:?}");
            if !again {
                migrate(ended.url());
                assert_eq!(seabank(ended.url(), &["demo"]).code, Some(0));
            }
        }
    }
}

async fn reserved_names_are_refused_before_anything_is_created(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    for more in [
        ["--user", "public"],
        ["--user", "pg_monitor"],
        ["--user", "none"],
        ["--database", "template1"],
        ["--database", "template0"],
        ["--database", "system"],
    ] {
        let ended = fresh.init(fresh.admin.url(), None, &[&more[..], &["--no-password"]].concat());
        assert_eq!(ended.code, Some(2), "{more:?}: {ended:?}");
        assert!(ended.errors.contains("reserves this name"), "{more:?}: {ended:?}");
        assert!(!fresh.is_there().await, "{more:?}");
    }
}

async fn three_concurrent_inits_succeed(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let running: Vec<_> = (0..3)
        .map(|_| {
            let mut init = command("seabank");
            init.args(["init", "--database", &fresh.name, "--user", &fresh.name])
                .env("BANK_PASSWORD", "s3cret");
            init.env("DATABASE_URL", fresh.admin.url()).stdout(Stdio::null()).stderr(Stdio::piped());
            init.spawn().expect("the process starts")
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().expect("the process ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fresh.drop().await;
}
