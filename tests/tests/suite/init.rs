//! `init`: database, user, rights, refusals.

mod password;
mod rights;

use std::process::{Command, Stdio};

use database::Server;
use serde_json::Value;
use tests::{OwnServer, Test, TestDatabase, TestServer, command, scalar, tests};

use crate::books::execute;
use password::{
    a_newline_is_no_part_of_a_password, an_interrupted_prompt_leaves_the_terminal_as_it_was,
    echo_shows_no_verifier,
};
use rights::{
    an_administrator_without_superuser_may_do_it_again, with_the_rights_to_create_both_both_are_made,
    without_the_right_to_create_users_nothing_is_made,
};

const SERVERS: &[Server] = &[Server::Postgres, Server::Cockroach];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_database_and_its_user_are_made_once_and_work on SERVERS,
        the_user_may_use_what_the_administrator_migrates on SERVERS,
        a_password_is_never_stored_as_it_is on &[Server::Postgres],
        whoever_may_not_create_is_told_so on SERVERS,
        without_a_password_or_a_good_name_nothing_is_done on SERVERS,
        sqlite_has_nothing_to_create on &[Server::Sqlite],
        words_of_sql_are_good_names on SERVERS,
        what_is_the_servers_own_is_refused_before_anything_is_made on SERVERS,
        three_at_once_all_end_well on SERVERS,
        an_administrator_without_superuser_may_do_it_again on &[Server::Postgres],
        without_the_right_to_create_users_nothing_is_made on SERVERS,
        with_the_rights_to_create_both_both_are_made on SERVERS,
        a_newline_is_no_part_of_a_password on &[Server::Postgres],
        echo_shows_no_verifier on &[Server::Postgres],
        an_interrupted_prompt_leaves_the_terminal_as_it_was on &[Server::Postgres],
    ]
}

struct Fresh {
    admin: TestDatabase,
    name: String,
}

impl Fresh {
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

    /// Drops both: an existing server stays.
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
        let output = command.output().expect("it can be started");
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
    assert!(status.expect("it can be started").success(), "{url}");
}

async fn a_database_and_its_user_are_made_once_and_work(server: &TestServer) {
    let fresh = Fresh::on(server).await;
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
    let fresh = Fresh::on(server).await;
    let ended = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["password"]), (Some(0), &"not_given".into()), "{ended:?}");
    // Tables created after the grants.
    migrate(&fresh.admin.url().replacen(&format!("/{}", fresh.admin.name), &format!("/{}", fresh.name), 1));
    let demo = seabank(ended.url(), &["demo"]);
    assert_eq!((demo.code, &demo.answer["audit"]["ok"]), (Some(0), &Value::Bool(true)), "{demo:?}");
    // And tables created before.
    let again = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    fresh.drop().await;
}

async fn a_password_is_never_stored_as_it_is(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let ended = fresh.init(fresh.admin.url(), Some("it's \\ s3cret"), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let sql = format!(
        "SELECT count(*) FROM pg_authid WHERE rolname = '{}' AND rolpassword LIKE 'SCRAM-SHA-256$4096:%'",
        fresh.name
    );
    assert_eq!(scalar(&fresh.admin.connect().await, &sql).await, 1);
    fresh.drop().await;
}

async fn whoever_may_not_create_is_told_so(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let user = fresh.init(fresh.admin.url(), None, &["--no-password"]);
    let other = format!("{}_other", fresh.name);
    let ended = fresh.init(user.url(), None, &["--no-password", "--database", &other]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    fresh.drop().await;
}

async fn without_a_password_or_a_good_name_nothing_is_done(server: &TestServer) {
    let fresh = Fresh::on(server).await;
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

/// Names that need quotes, on its own server: they are not unique.
async fn words_of_sql_are_good_names(server: &TestServer) {
    let Some(own) = OwnServer::start(server).await.expect("it starts") else { return };
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

async fn what_is_the_servers_own_is_refused_before_anything_is_made(server: &TestServer) {
    let fresh = Fresh::on(server).await;
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

async fn three_at_once_all_end_well(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let running: Vec<_> = (0..3)
        .map(|_| {
            let mut init = command("seabank");
            init.args(["init", "--database", &fresh.name, "--user", &fresh.name])
                .env("BANK_PASSWORD", "s3cret");
            init.env("DATABASE_URL", fresh.admin.url()).stdout(Stdio::null()).stderr(Stdio::piped());
            init.spawn().expect("it can be started")
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fresh.drop().await;
}
