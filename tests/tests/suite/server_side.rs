//! CockroachDB's IMPORT: all accounts of a file or none, even if the program is killed.

mod jobs;

use std::num::NonZero;
use std::process::Output;

use database::{Database, Server};
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::import::Imported;
use seabank::bank::load::Loading;
use serde_json::Value;
use tests::{Tap, Test, TestDatabase, TestServer, WebFile, scalar, tests};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::{everything, insert_account, tapped};
use crate::crash::assert_whole;
use crate::newer::{LOCKED, error, newer};

use jobs::{
    a_job_that_outlives_its_session_is_followed, a_job_with_a_cut_description_is_found,
    an_interrupted_or_killed_import_is_whole_or_absent,
};

pub(crate) fn tests() -> Vec<Test> {
    let cancelling = tests![alone:
        a_job_that_outlives_its_session_is_followed on COCKROACH,
        a_job_with_a_cut_description_is_found on COCKROACH,
    ];
    let others = tests![
        the_server_reads_a_file on COCKROACH,
        echo_shows_no_key_of_a_cloud on COCKROACH,
        an_exported_bank_is_read_by_the_server on COCKROACH,
        existing_accounts_stay_and_the_others_are_added on COCKROACH,
        a_corrected_file_completes_its_run on COCKROACH,
        a_refused_file_changes_nothing on COCKROACH,
        an_older_server_gets_chunks on COCKROACH,
        a_locked_table_gets_chunks on COCKROACH,
        an_interrupted_or_killed_import_is_whole_or_absent on COCKROACH,
        other_servers_suggest_the_clients_import on &[Server::Sqlite, Server::Postgres],
    ];
    [cancelling, others].concat()
}

const COCKROACH: &[Server] = &[Server::Cockroach];

fn accounts(count: u64, columns: usize) -> String {
    let header = ["id", "balance", "opening_balance", "created_at"][..columns].join(",");
    (1..=count).fold(header + "\n", |text, id| {
        let (balance, id) = ((id * 10).to_string(), id.to_string());
        let row = [&id, &balance, &balance, "2026-01-02T03:04:05Z"][..columns].join(",");
        text + &row + "\n"
    })
}

async fn web(text: impl Into<Vec<u8>>) -> WebFile {
    WebFile::start(text).await.expect("a port is free")
}

fn import(test: &TestDatabase, url: &str, more: &[&str]) -> (Output, Value) {
    let arguments = ["import", "--server-side", url, "--format", "json"];
    let output = test.seabank().args(arguments).args(more).output().expect("the command runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, answer)
}

async fn assert_clean(test: &TestDatabase, database: &Database) {
    assert_eq!(
        scalar(database, "SELECT count(*) FROM [SHOW TABLES] WHERE table_name LIKE 'import%'").await,
        0
    );
    for table in ["accounts", "transfers"] {
        let sql = format!("SELECT count(*) FROM [SHOW CONSTRAINTS FROM {table}] WHERE NOT validated");
        assert_eq!(scalar(database, &sql).await, 0, "{table}");
    }
    assert_whole(test);
}

async fn the_server_reads_a_file(server: &TestServer) {
    for columns in 2..=4 {
        let (test, file) = (server.database().await, web(accounts(25_000, columns)).await);
        let database = test.connect().await;
        let (output, answer) = import(&test, &file.url("accounts.csv"), &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!((&answer["rows"], &answer["rejected"]), (&25_000.into(), &0.into()), "{answer}");
        let errors = String::from_utf8_lossy(&output.stderr);
        // With two columns, and on v20.1 always, the table stays online.
        assert_eq!(errors.contains("the table is offline until it ends"), columns > 2, "{errors}");
        let (accounts, _) = everything(&database).await;
        assert_eq!(accounts.len(), 25_000);
        assert!(accounts.iter().all(|it| it.balance == it.id * 10 && it.opening_balance == it.balance));
        assert!(accounts.iter().all(|it| (it.created_at.unix_timestamp() == 1_767_323_045) == (columns > 3)));
        assert_clean(&test, &database).await;
    }
}

async fn echo_shows_no_key_of_a_cloud(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(30, 3)).await);
    let url = file.url("accounts.csv") + "?AWS_SECRET_ACCESS_KEY=s3cret";
    let (output, answer) = import(&test, &url, &["--echo"]);
    assert_eq!((output.status.code(), &answer["rows"]), (Some(0), &30.into()), "{output:?}");
    let echoed = String::from_utf8_lossy(&output.stderr);
    assert!(echoed.contains("\nIMPORT ") && !echoed.contains("s3cret"), "{echoed}");
}

async fn an_exported_bank_is_read_by_the_server(server: &TestServer) {
    let (from, to) = (server.database().await, server.database().await);
    from.seabank().args(["seed", "--count", "500"]).assert().success();
    let exported = from.seabank().args(["export", "accounts"]).output().expect("the command runs");
    let file = web(exported.stdout).await;
    let (output, _) = import(&to, &file.url("accounts.csv"), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (before, after) = (everything(&from.connect().await).await, everything(&to.connect().await).await);
    assert!(before == after && before.0.len() == 500);
}

async fn existing_accounts_stay_and_the_others_are_added(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(300, 3)).await);
    let database = test.connect().await;
    insert_account(&database, 7, 70).await;
    insert_account(&database, 200, 2000).await;
    let (output, answer) = import(&test, &file.url("a.csv"), &["--chunk", "100"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let counts = |answer: &Value| ["rows", "found", "present", "chunks"].map(|key| answer[key].as_u64());
    assert_eq!(counts(&answer), [298, 0, 2, 3].map(Some));
    assert_eq!(everything(&database).await.0.len(), 300);

    let run = answer["run"].as_str().expect("an id");
    let (_, again) = import(&test, &file.url("a.csv"), &["--chunk", "100", "--run", run]);
    assert_eq!(counts(&again), [0, 300, 0, 3].map(Some), "{again}");
    assert_clean(&test, &database).await;
}

/// A corrected chunk keeps its first and last account and its size.
async fn a_corrected_file_completes_its_run(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    let text = |balance: i64, wrong: i64, right: i64| {
        let ids = (1..=300).map(|id| if id * 2 == wrong { right } else { id * 2 });
        ids.fold("id,balance\n".to_owned(), |text, id| text + &format!("{id},{balance}\n"))
    };
    let (wrong, mended) = (web(text(10, 0, 0)).await, web(text(10, 250, 251)).await);
    let (_, answer) = import(&test, &wrong.url("a.csv"), &["--chunk", "100"]);
    let run = answer["run"].as_str().expect("an id");
    let (output, answer) = import(&test, &mended.url("a.csv"), &["--chunk", "100", "--run", run]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let counts = ["rows", "found", "present", "chunks"].map(|key| answer[key].as_u64());
    assert_eq!(counts, [1, 200, 99, 3].map(Some), "{answer}");
    let there: Vec<i64> = everything(&database).await.0.iter().map(|account| account.id).collect();
    assert_eq!((there.len(), there.contains(&251)), (301, true));

    let other = web(text(20, 250, 251)).await;
    let (output, answer) = import(&test, &other.url("a.csv"), &["--chunk", "100", "--run", run]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = answer["error"].as_str().expect("a line");
    assert!(error.contains("account 2 already exists with opening balance 10, not 20"), "{error}");
    assert_clean(&test, &database).await;
}

async fn a_refused_file_changes_nothing(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    insert_account(&database, 5, 50).await;
    let before = everything(&database).await;
    for (text, code, words) in [
        ("", 2, "it is empty: the first line has to be a header"),
        ("1\n2\n", 2, "its first line is `1`"),
        ("1,10\n2,20\n", 2, "its first line is `1,10`"),
        ("balance,id\n1,10\n", 2, "its first line is `balance,id`"),
        ("id,source_id,target_id,amount\n", 2, "its rows are transfers"),
        ("id,balance\n1,10\n2,x\n", 1, "row 3"),
        ("id,balance\n1,10\n2,20,20\n", 1, "expected 2 fields, got 3"),
        ("id,balance\n1,10\n1,20\n", 1, "duplicate key"),
        ("id,balance\n1,9223372036854775808\n", 1, "row 2"),
        ("id,balance\n1,10\n2,-20\n", 1, "account 2: the balance -20 is negative"),
        (
            "id,balance,opening_balance\n1,10,10\n2,20,-1\n",
            1,
            "account 2: the opening_balance -1 is negative",
        ),
        (
            "id,balance,opening_balance,created_at\n1,10,10,9999-12-31T23:59:59Z\n2,20,20,9999-12-31T23:59:59-01:00\n",
            1,
            "account 2: the created_at 10000-01-01 00:59:59+00:00 is not in the years 1 to 9999 in UTC",
        ),
        ("id,balance\n1,10\n5,60\n", 1, "account 5 already exists with opening balance 50, not 60"),
    ] {
        let file = web(text).await;
        let (output, answer) = import(&test, &file.url("accounts.csv"), &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        let failure = errors.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{text}: {errors}");
        assert!(failure.starts_with("error: ") && failure.contains(words), "{text}: {errors}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "{answer}");
        assert!(everything(&database).await == before, "{text}");
    }
    let (output, _) = import(&test, "nodelocal://1/there-is-none.csv?KEY=hidden", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hidden"), "{output:?}");
    assert_clean(&test, &database).await;
}

/// No `row_limit`, and no IMPORT into a table with a DEFAULT.
fn refusing(sql: &str) -> String {
    sql.replace("row_limit", "no_such_option").replace("IMPORT INTO accounts ", "IMPORT INTO no_such_table ")
}

async fn an_older_server_gets_chunks(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(300, 3)).await);
    let imported = Imitated::new(&test, refusing).await.import(&file.url("a.csv")).await;
    assert_eq!((imported.rows, imported.chunks), (300, 3), "{imported:?}");
    assert_clean(&test, &test.connect().await).await;
}

/// Since v26.1 a table may be locked against schema changes.
async fn a_locked_table_gets_chunks(server: &TestServer) {
    let (test, file) = (server.database().await, web(accounts(300, 3)).await);
    let (_proxy, url) = newer(&test, |request| {
        request.text.starts_with("IMPORT INTO accounts").then(|| error("57000", LOCKED)).flatten()
    })
    .await;
    let (output, answer) = import(&test, &file.url("a.csv"), &["--chunk", "100", "--database-url", &url]);
    assert_eq!((&answer["rows"], &answer["chunks"]), (&300.into(), &3.into()), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("does not IMPORT INTO accounts") && told.contains("\"accounts\" is locked"),
        "{told}"
    );
    assert_clean(&test, &test.connect().await).await;
}

struct Imitated {
    bank: Bank,
    long: Bank,
}

impl Imitated {
    async fn new(test: &TestDatabase, rewrite: fn(&str) -> String) -> Self {
        let bank =
            |database: &Database| Bank::on(tapped(&Tap::new(database).rewriting(rewrite), Policy::default()));
        Self { bank: bank(&test.connect().await), long: bank(&test.connect_for_analysis().await) }
    }

    async fn import(&self, url: &str) -> Imported {
        let loading = Loading {
            run: Uuid::new_v4(),
            chunk: NonZero::new(100).expect("not zero"),
            concurrency: NonZero::<usize>::MIN,
            stop: CancellationToken::new(),
        };
        let imported = self.bank.import_on_server(&self.long, url, &loading, |_| ()).await;
        imported.unwrap_or_else(|(error, imported)| panic!("{error}: {imported:?}"))
    }
}

async fn other_servers_suggest_the_clients_import(server: &TestServer) {
    let test = server.empty_database().await;
    let (output, answer) = import(&test, "http://127.0.0.1:1/accounts.csv", &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = answer["error"].as_str().expect("a line");
    assert!(error.contains("only CockroachDB imports files itself"), "{error}");
    assert!(error.contains("seabank import accounts.csv"), "{error}");
    let (output, answer) = import(&test, "accounts.csv", &[]);
    let error = answer["error"].as_str().expect("a line");
    assert!(output.status.code() == Some(2) && error.contains("takes a URL"), "{output:?}");
}
