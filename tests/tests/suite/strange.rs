//! Unusual data: times that cannot be represented, and account numbers of every size.

use std::time::Duration;

use database::{Database, Server};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_retry::Policy;
use seabank::bank::transfer::{Many, Order, Style, TransferRequest, Unsuccessful};
use seabank::bank::workload::{Skew, Workload};
use seabank::bank::{AccountId, Bank};
use serde_json::Value;
use tests::{Tap, Test, TestDatabase, TestServer, tests};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::{balances, execute, insert_account, tapped};
use crate::crash::assert_whole;
use crate::files::{Folder, count, import};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        times_are_stored_in_one_format_and_sorted,
        a_time_out_of_range_is_rejected_with_its_line,
        an_unreadable_time_fails_only_commands_that_show_it,
        every_account_number_works_everywhere,
        a_panicking_task_is_reported_with_the_totals,
    ]
}

fn seabank(test: &TestDatabase, arguments: &[&str], code: i32) -> Value {
    let output =
        test.seabank().args(arguments).args(["--format", "json"]).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

fn times_of_account_1(test: &TestDatabase) -> Vec<String> {
    let history = seabank(test, &["history", "1"], 0);
    let outgoing = history["outgoing"].as_array().expect("a list").iter().rev();
    outgoing.map(|transfer| transfer["created_at"].as_str().expect("a time").to_owned()).collect()
}

async fn times_are_stored_in_one_format_and_sorted(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    for account in [1, 2] {
        insert_account(&database, account, 100).await;
    }
    let rows = [
        ("2026-01-02T00:00:02Z", "2026-01-02T00:00:02Z"),
        ("2026-01-01T23:30:00-01:00", "2026-01-02T00:30:00Z"),
        ("2026-01-02T00:00:02.25Z", "2026-01-02T00:00:02.25Z"),
        ("2026-01-02T02:00:00+01:30", "2026-01-02T00:30:00Z"),
    ];
    let mut text = "id,source_id,target_id,amount,created_at\n".to_owned();
    for (number, (given, _)) in (1..).zip(rows) {
        text += &format!("{},1,2,1,{given}\n", id(number));
    }
    let (output, answer) = import(&test, &folder.write("transfers.csv", text), &[]);
    assert_eq!((output.status.code(), count(&answer, "rows")), (Some(0), 4), "{output:?}");
    for (number, time) in [(5, "'2026-01-02 00:00:02.1'"), (6, "CURRENT_TIMESTAMP")] {
        let sql = format!(
            "INSERT INTO transfers (id, source_id, target_id, amount, created_at) VALUES ({}, 1, 2, 1, {time})",
            uuid(server.server, number)
        );
        execute(&database, &sql).await;
    }
    let told = times_of_account_1(&test);
    let mut expected = vec!["2026-01-02T00:00:02.1Z"];
    expected.extend(rows.map(|(_, stored)| stored));
    expected.sort_unstable_by_key(|time| time.trim_end_matches('Z').to_owned());
    assert_eq!(told[..5], expected);
    if server.server == Server::Sqlite {
        for time in texts(&database, "SELECT created_at FROM transfers").await {
            assert!(time.as_bytes()[10] == b' ' && !time.ends_with('Z'), "{time}");
        }
        // As an older version wrote it.
        execute(&database, "UPDATE transfers SET created_at = replace(created_at, ' ', 'T') || 'Z' WHERE amount = 1 AND created_at LIKE '%02'").await;
        assert_eq!(times_of_account_1(&test)[..5], expected);
    }
}

fn uuid(server: Server, number: u32) -> String {
    // SQLite stores the id's bytes.
    if server == Server::Sqlite { format!("x'{number:032}'") } else { format!("'{}'", id(number)) }
}

async fn texts(database: &Database, sql: &str) -> Vec<String> {
    let statement = Statement::from_string(database.connection.get_database_backend(), sql);
    let rows = database.connection.query_all_raw(statement).await.expect("a query");
    rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
}

async fn a_time_out_of_range_is_rejected_with_its_line(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    for (time, words) in [
        (
            "9999-12-31T23:59:59-01:00",
            "line 3: the created_at `9999-12-31T23:59:59-01:00` is not in the years 1 to 9999",
        ),
        ("0001-01-01T00:00:00+00:01", "is not in the years 1 to 9999"),
        ("0000-01-01T00:00:00Z", "is not in the years 1 to 9999"),
        ("infinity", "is not a time"),
    ] {
        let head = "id,balance,opening_balance,created_at\n1,10,10,2026-01-01T00:00:00Z\n";
        let file = folder.write("accounts.csv", format!("{head}2,20,20,{time}\n"));
        let (output, answer) = import(&test, &file, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "{answer}");
    }
    assert_eq!(balances(&test.connect().await).await, []);
    // Enough rows for COPY.
    let mut text = "id,balance,opening_balance,created_at\n".to_owned();
    for number in 0..5000 {
        let time = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"][number % 2];
        text += &format!("{number},1,1,{time}\n");
    }
    let (output, _) = import(&test, &folder.write("ends.csv", text), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(seabank(&test, &["history", "1"], 0)["created_at"], "9999-12-31T23:59:59.999999Z");
    seabank(&test, &["transfer", "--from", "1", "--to", "2", "--amount", "1"], 0);
    assert_whole(&test);
}

async fn an_unreadable_time_fails_only_commands_that_show_it(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for account in [1, 2, 3] {
        insert_account(&database, account, 100).await;
    }
    let transfer = ["transfer", "--from", "1", "--to", "2", "--amount", "1", "--id"];
    seabank(&test, &[&transfer[..], &[&id(1)]].concat(), 0);
    let strange = match server.server {
        Server::Sqlite => "'soon'",
        Server::Postgres => "'infinity'",
        Server::Cockroach => "'12000-01-01 00:00:00'",
    };
    let run = Uuid::new_v4().to_string();
    let points = ["points", "--count", "5", "--run", &run, "--rng-seed", "1"];
    seabank(&test, &points, 0);
    for table in ["accounts", "transfers", "batches"] {
        execute(&database, &format!("UPDATE {table} SET created_at = {strange} WHERE 1 = 1")).await;
    }
    for style in ["builder", "orm", "single"] {
        if style == "single" && server.server == Server::Sqlite {
            continue;
        }
        seabank(&test, &["transfer", "--from", "1", "--to", "2", "--amount", "1", "--style", style], 0);
        seabank(&test, &["transfer", "--from", "2", "--to", "1", "--style", style], 0);
        seabank(&test, &[&transfer[..], &[&id(1), "--style", style]].concat(), 0);
        seabank(&test, &["transfer", "--from", "3", "--to", "2", "--amount", "1000", "--style", style], 1);
        seabank(&test, &["transfer", "--from", "3", "--to", "4", "--amount", "1", "--style", style], 1);
        seabank(&test, &["transfer", "--count", "20", "--style", style], 0);
        seabank(&test, &["workload", "--max-ops", "20", "--style", style], 0);
    }
    seabank(&test, &["accounts"], 0);
    assert_eq!(count(&seabank(&test, &points, 0), "found"), 5);
    let folder = Folder::new();
    let file = folder.write("again.csv", format!("id,source_id,target_id,amount\n{},1,2,1\n", id(1)));
    assert_eq!(count(&import(&test, &file, &[]).1, "present"), 1);
    for arguments in [&["history", "3"][..], &["export", "accounts"], &["export", "transfers"]] {
        let output = test.seabank().args(arguments).output().expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        let [line] = errors.lines().collect::<Vec<_>>()[..] else { panic!("one line, not {errors}") };
        assert!(line.contains("is not in the years 1 to 9999"), "{line}");
        assert!(line.contains(if arguments[1] == "transfers" { "transfer " } else { "account " }), "{line}");
    }
    assert_whole(&test);
}

async fn every_account_number_works_everywhere(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let numbers = [i64::MIN, i64::MIN + 1, -5, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let rows = numbers.map(|number| format!("{number},1000\n")).concat();
    let file = folder.write("accounts.csv", format!("id,balance\n{rows}"));
    assert_eq!(count(&import(&test, &file, &[]).1, "rows"), 8);

    let listed = seabank(&test, &["accounts"], 0);
    let list: Vec<_> =
        listed["list"].as_array().expect("a list").iter().map(|it| it["id"].as_i64()).collect();
    assert_eq!(list, numbers.map(Some));
    assert_eq!(seabank(&test, &["accounts", "--min-id", "-5"], 0)["list"].as_array().map(Vec::len), Some(6));

    for pair in numbers.windows(2) {
        let [from, to] = [pair[0].to_string(), pair[1].to_string()];
        let given =
            ["transfer", "--from", &from, "--to", &to, "--amount", "1", "--id", &Uuid::new_v4().to_string()];
        let given = given.map(str::to_owned);
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        assert_eq!(seabank(&test, &given, 0)["applied"], 1);
        assert_eq!(seabank(&test, &given, 0)["already_applied"], 1, "the suggested command settles it");
        assert_eq!(seabank(&test, &["history", &from], 0)["id"], pair[0]);
    }
    seabank(&test, &["transfer", "--count", "50", "--amount", "1"], 0);
    for more in [&["--accounts", "8"][..], &["--accounts", "1000", "--hot", "2"]] {
        let load = seabank(&test, &[&["workload", "--max-ops", "100", "--amount", "1"], more].concat(), 0);
        assert_eq!(load["transfers"], 100, "{load}");
    }
    let exported = test.seabank().args(["export", "accounts"]).output().expect("the command runs");
    assert_eq!(String::from_utf8_lossy(&exported.stdout).lines().count(), 9);
    assert_whole(&test);
}

async fn a_panicking_task_is_reported_with_the_totals(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for account in 1..=4 {
        insert_account(&database, account, 100).await;
    }
    let panicking = |verb| Bank::on(tapped(&Tap::new(&database).panicking_at(verb), Policy::default()));
    let order = Order::new(Uuid::new_v4(), AccountId(1), AccountId(2), TransferRequest::default());
    let outcome = panicking("UPDATE").transfer(order, Style::Builder).await;
    assert!(outcome.as_ref().is_err_and(|error| error.may_be_applied()), "{outcome:?}");

    let many = Many {
        count: 3,
        concurrency: 2,
        run: Uuid::new_v4(),
        request: TransferRequest::default(),
        style: Style::Builder,
        batch: None,
        rng_seed: 1,
    };
    let mut endings =
        panicking("UPDATE").transfer_many(many, CancellationToken::new()).await.expect("readable");
    let mut told = 0;
    while let Some(ended) = endings.recv().await {
        let unknown = matches!(&ended.outcome, Err(Unsuccessful::Transfer(error)) if error.may_be_applied());
        assert!(unknown, "{ended:?}");
        told += 1;
    }
    assert_eq!(told, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let drawn =
        panicking("SELECT").order(Uuid::new_v4(), TransferRequest::default(), Some(&(1..=4)), &mut rng).await;
    assert!(drawn.is_err_and(|error| error.to_string().contains("panicked")));

    let load = Workload {
        run: Uuid::new_v4(),
        style: Style::Builder,
        batch: None,
        amount: None,
        accounts: 4,
        skew: Skew::Even,
        rng_seed: 1,
        concurrency: 2,
        duration: None,
        max_ops: Some(5),
        rate: None,
        ramp: Duration::ZERO,
        audit_every: Some(Duration::from_millis(10)),
        audit_as_of: None,
        tolerate_errors: true,
    };
    let auditor = Bank::new(&test.connect_for_analysis().await, Policy::default());
    let stop = CancellationToken::new();
    let ended = panicking("UPDATE").load(&auditor, load, Duration::from_secs(1), stop, |_| ()).await;
    let ended = ended.expect("four accounts");
    assert_eq!((ended.total.endings.unknown, ended.total.endings.transfers), (5, 0));
    assert!(ended.first_error.is_some());
    assert_eq!(balances(&database).await, [(1, 100), (2, 100), (3, 100), (4, 100)]);
    assert_whole(&test);
}
