//! Hot standbys: readers work, writers are refused, and a promotion is waited for.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use database::{Address, Options, Server};
use sea_orm::ConnectionTrait;
use seabank::bank::transfer::{Order, Style, TransferRequest};
use seabank::bank::{AccountId, Amount};
use tests::{OwnServer, Postgres, Test, TestDatabase, TestServer, command, scalar, tests};

use crate::books::{everything, execute, insert_account};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        reading_commands_work_on_a_hot_standby on POSTGRES,
        writing_commands_are_refused_in_one_line on POSTGRES,
        a_promotion_is_waited_for on POSTGRES,
        sessions_of_a_standby_are_not_used_after_its_promotion on POSTGRES,
    ]
}

const POSTGRES: &[Server] = &[Server::Postgres];

struct Pair {
    bank: TestDatabase,
    standby: Postgres,
    _primary: OwnServer,
}

impl Pair {
    async fn start() -> Self {
        let programs = Postgres::find().expect("PostgreSQL's programs are installed");
        let primary = OwnServer::Postgres(Postgres::start(&programs).await.expect("the server starts"));
        let bank = primary.bank().await;
        let database = bank.connect().await;
        for id in 1..=20 {
            insert_account(&database, id, 1000).await;
        }
        let OwnServer::Postgres(server) = &primary else { unreachable!("it was started as one") };
        let standby = server.standby().await.expect("the server starts");
        Self { bank, standby, _primary: primary }
    }

    fn url(&self) -> String {
        self.standby.url(&self.bank.name)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program);
        command.args(arguments).env("DATABASE_URL", self.url());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().expect("the command runs")
    }

    async fn promote(&self) {
        let session = sea_orm::Database::connect(self.url()).await.expect("the server answers");
        session.execute_unprepared("SELECT pg_promote()").await.expect("it is promoted");
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn reading_commands_work_on_a_hot_standby(_: &TestServer) {
    let pair = Pair::start().await;
    for (program, arguments) in [
        ("seabank", &["accounts"][..]),
        ("seabank", &["history", "1"]),
        ("seabank", &["audit"]),
        ("seabank", &["export", "accounts"]),
        ("seabank", &["export", "transfers"]),
        ("seabank", &["doctor", "--server-cores", "64"]),
        ("migration", &["status"]),
        ("migration", &["up"]),
    ] {
        let output = pair.run(program, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
        assert_eq!(errors(&output).matches("error").count(), 0, "{arguments:?}: {}", errors(&output));
    }
    let told = pair.run("seabank", &["doctor"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("a hot standby"), "{told:?}");
}

async fn writing_commands_are_refused_in_one_line(_: &TestServer) {
    let pair = Pair::start().await;
    let before = everything(&pair.bank.connect().await).await;
    for (program, arguments) in [
        ("seabank", &["seed", "--count", "5"][..]),
        ("seabank", &["points", "--count", "5"]),
        ("seabank", &["transfer"]),
        ("seabank", &["transfer", "--count", "3"]),
        ("seabank", &["workload", "--max-ops", "5"]),
        ("seabank", &["import", "-"]),
        ("seabank", &["demo"]),
        ("seabank", &["init", "--no-password"]),
        ("migration", &["down"]),
        ("migration", &["refresh"]),
        ("migration", &["reset"]),
        ("migration", &["fresh", "--yes"]),
    ] {
        let mut all = arguments.to_vec();
        if program == "seabank" {
            all.extend(["--quiet", "--retry-for", "1"]);
        }
        let output = pair.run(program, &all);
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(
            told.lines().count() == 1 && told.contains("hot standby, which takes no writes"),
            "{arguments:?}: {told}"
        );
    }
    assert!(everything(&pair.bank.connect().await).await == before);
}

async fn a_promotion_is_waited_for(_: &TestServer) {
    let pair = Pair::start().await;
    let mut waiting: Vec<Child> = [
        &["seed", "--count", "5"][..],
        &["transfer", "--count", "5", "--concurrency", "2"],
        &["transfer", "--style", "single"],
    ]
    .map(|arguments| {
        let mut command = pair.command("seabank", arguments);
        command.args(["--retry-for", "80"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the process starts")
    })
    .into();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for child in &mut waiting {
        assert!(child.try_wait().expect("the process is polled").is_none(), "the process waits");
    }
    pair.promote().await;
    for child in &mut waiting {
        let started = Instant::now();
        while child.try_wait().expect("the process is polled").is_none() {
            assert!(started.elapsed() < Duration::from_secs(80), "the process continues");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(child.wait().expect("the process ends").success());
    }
    let address = Address::parse(&pair.url()).expect("a good URL");
    let promoted = database::connect(&address, &Options::default()).await.expect("the server answers");
    assert_eq!(scalar(&promoted, "SELECT count(*) FROM accounts").await, 25);
    assert_eq!(scalar(&promoted, "SELECT count(*) FROM transfers").await, 6);
}

/// Their default isolation is weaker, and applies to autocommitted statements.
async fn sessions_of_a_standby_are_not_used_after_its_promotion(_: &TestServer) {
    let pair = Pair::start().await;
    let address = Address::parse(&pair.url()).expect("a good URL");
    let two = Options { max_connections: 2, ..Options::default() };
    let database = database::connect(&address, &two).await.expect("the server answers");
    assert!(database.is_standby);
    assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, 20);
    pair.promote().await;
    let bank = seabank::bank::Bank::new(&database, sea_orm_retry::Policy::default());
    let request =
        TransferRequest { amount: Some(Amount::new(1).expect("an amount")), ..TransferRequest::default() };
    let order = Order::new(uuid::Uuid::new_v4(), AccountId(1), AccountId(2), request);
    bank.transfer(order, Style::Single).await.expect("in a new session");
    let sql = "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_isolation' AND setting = 'serializable'";
    assert_eq!(scalar(&database, sql).await, 1);
    execute(&database, "SELECT 1").await;
}
