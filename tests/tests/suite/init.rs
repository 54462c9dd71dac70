//! The database and its user, made by an administrator: what the user may do then, and what is told.

use std::fs::File;
use std::process::{Command, Stdio};

use database::Server;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use tests::{OwnServer, Test, TestDatabase, TestServer, command, scalar, tests};

use crate::books::execute;

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

/// A database and a user that nobody else has, and the administrator's own database beside them.
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

    /// `init` as the administrator, or as another URL says.
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

    /// Takes both away again: servers that were there before stay.
    async fn drop(self) {
        let database = self.admin.connect().await;
        let cascade = if database.server == Server::Cockroach { " CASCADE" } else { "" };
        execute(&database, &format!("DROP DATABASE {}{cascade}", self.name)).await;
        execute(&database, &format!("DROP USER {}", self.name)).await;
    }
}

/// A command that has ended.
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
    // Its tables come after the grants, and belong to somebody else.
    migrate(&fresh.admin.url().replacen(&format!("/{}", fresh.admin.name), &format!("/{}", fresh.name), 1));
    let demo = seabank(ended.url(), &["demo"]);
    assert_eq!((demo.code, &demo.answer["audit"]["ok"]), (Some(0), &Value::Bool(true)), "{demo:?}");
    // And those that were there before.
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

/// Names that only quotes make good, in a server that is thrown away: they are not the run's own.
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

/// A role with these options, and the administrator's URL as that role.
async fn administrator(fresh: &Fresh, options: &str) -> (String, String) {
    let role = format!("{}_admin", fresh.admin.name);
    execute(&fresh.admin.connect().await, &format!("CREATE ROLE {role} LOGIN {options}")).await;
    let url =
        fresh.admin.url().replace("postgres@", &format!("{role}@")).replace("root@", &format!("{role}@"));
    (role, url)
}

async fn an_administrator_without_superuser_may_do_it_again(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let (role, url) = administrator(&fresh, "CREATEDB CREATEROLE").await;
    let first = fresh.init(fresh.admin.url(), Some("s3cret"), &[]);
    assert_eq!(first.code, Some(0), "{first:?}");
    migrate(first.url());
    for _ in 0..2 {
        let again = fresh.init(&url, Some("s3cret"), &[]);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_eq!(again.answer["database_created"], false, "{again:?}");
    }
    assert_eq!(seabank(first.url(), &["demo"]).code, Some(0));
    let admin = fresh.admin.connect().await;
    for sql in [
        format!("DROP DATABASE {}", fresh.name),
        format!("DROP USER {}", fresh.name),
        format!("DROP ROLE {role}"),
    ] {
        execute(&admin, &sql).await;
    }
}

async fn without_the_right_to_create_users_nothing_is_made(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let (role, url) = administrator(&fresh, "CREATEDB").await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert!(ended.errors.contains("CREATEROLE") && ended.errors.lines().count() == 1, "{ended:?}");
    assert!(!fresh.is_there().await);
    let admin = fresh.admin.connect().await;
    execute(&admin, &format!("DROP ROLE {role}")).await;
    // Nor a user without its database.
    let login = if server.server == Server::Cockroach { " CREATELOGIN" } else { "" };
    let (role, url) = administrator(&fresh, &format!("CREATEROLE{login}")).await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert!(ended.errors.contains("CREATEDB"), "{ended:?}");
    let users = format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = '{}'", fresh.name);
    assert_eq!(scalar(&admin, &users).await, 0);
    execute(&admin, &format!("DROP ROLE {role}")).await;
}

async fn a_newline_is_no_part_of_a_password(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let admin = fresh.admin.connect().await;
    let sql = format!(
        "SELECT count(*) FROM pg_authid WHERE rolname = '{}' AND rolpassword IS NOT NULL",
        fresh.name
    );
    for (password, code) in [("s3cret\n", 0), ("s3cret\r\n", 0), ("\n", 2)] {
        let ended = fresh.init(fresh.admin.url(), Some(password), &[]);
        assert_eq!(ended.code, Some(code), "{password:?}: {ended:?}");
        if code == 0 {
            assert_eq!(scalar(&admin, &sql).await, 1);
        }
    }
    fresh.drop().await;
}

async fn echo_shows_no_verifier(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let ended = fresh.init(fresh.admin.url(), Some("s3cret"), &["--echo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.errors.contains("WITH PASSWORD '***'") && !ended.errors.contains("SCRAM"),
        "{}",
        ended.errors
    );
    fresh.drop().await;
}

async fn with_the_rights_to_create_both_both_are_made(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    let login = if server.server == Server::Cockroach { " CREATELOGIN" } else { "" };
    let (role, url) = administrator(&fresh, &format!("CREATEDB CREATEROLE{login}")).await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    // CockroachDB v22.1 in development: who has made a database may not grant rights on it.
    if server.server == Server::Cockroach && ended.errors.contains("WITH GRANT OPTION") {
        assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    } else {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        migrate(ended.url());
    }
    let admin = fresh.admin.connect().await;
    let cascade = if server.server == Server::Cockroach { " CASCADE" } else { "" };
    let (name, all) = (&fresh.name, format!("DROP DATABASE {}{cascade}", fresh.name));
    for sql in [all, format!("DROP USER {name}"), format!("DROP ROLE {role}")] {
        execute(&admin, &sql).await;
    }
}

async fn an_interrupted_prompt_leaves_the_terminal_as_it_was(server: &TestServer) {
    let fresh = Fresh::on(server).await;
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        unlockpt(&terminal).expect("it is ours");
        let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("text");
        let end = || File::options().read(true).write(true).open(&name).expect("its other end");
        let shows = |end: &File| tcgetattr(end).expect("a terminal").local_modes.contains(LocalModes::ECHO);
        let looking = end();
        assert!(shows(&looking));
        let mut init = Command::new("setsid");
        init.arg("--ctty").arg(command("seabank").get_program()).args(["init", "--database", &fresh.name]);
        init.env("DATABASE_URL", fresh.admin.url()).env_remove("BANK_PASSWORD");
        let mut asking = init.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it can be started");
        while shows(&looking) {
            assert!(asking.try_wait().expect("it can be looked at").is_none(), "it asks");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let kill = format!("kill -{signal} {}", asking.id());
        Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert_eq!(asking.wait().expect("it ends").code(), Some(code), "{signal}");
        assert!(shows(&looking), "{signal}: what is typed is shown again");
        assert!(!fresh.is_there().await);
    }
}
