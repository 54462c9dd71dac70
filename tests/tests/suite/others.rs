//! Other programs' objects with the bank's names, and schemas that hide the bank: none is used or
//! dropped.

mod search_path;

use std::fs;
use std::process::{Command, Output};

use database::{Database, Server};
use sea_orm::ConnectionTrait;
use tests::{Test, TestDatabase, TestServer, scalar, tests};

use crate::books::execute;
use search_path::{
    a_bank_in_two_schemas_is_refused, a_schema_behind_the_banks_is_ignored,
    a_schema_in_front_of_the_banks_is_named,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_table_of_another_program_is_refused,
        a_table_that_this_user_has_no_rights_on_is_refused on WIRE,
        an_index_of_another_program_is_refused,
        a_table_replaced_by_another_program_is_not_dropped,
        foreign_objects_stay,
        fresh_asks_first,
        a_schema_in_front_of_the_banks_is_named on WIRE,
        a_bank_in_two_schemas_is_refused on WIRE,
        a_schema_behind_the_banks_is_ignored on WIRE,
    ]
}

const WIRE: &[Server] = &[Server::Postgres, Server::Cockroach];

fn one_line(output: &Output) -> (Option<i32>, String) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let [line] = errors.lines().collect::<Vec<_>>()[..] else { panic!("one line, not {errors}") };
    (output.status.code(), line.to_owned())
}

fn run(mut command: Command, arguments: &[&str]) -> Output {
    command.args(arguments).output().expect("the command runs")
}

fn migration(test: &TestDatabase, arguments: &[&str]) -> Output {
    run(test.program("migration"), arguments)
}

fn succeeds(test: &TestDatabase, arguments: &[&str]) -> String {
    let output = migration(test, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_refused(test: &TestDatabase, arguments: &[&str], words: &[&str]) {
    let (code, line) = one_line(&migration(test, arguments));
    assert_eq!(code, Some(1), "{arguments:?}: {line}");
    for word in words {
        assert!(line.contains(word), "{arguments:?}: {word} in {line}");
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    scalar(database, &format!("SELECT count(*) FROM {table}")).await
}

async fn tables(database: &Database) -> Vec<&'static str> {
    let mut there = Vec::new();
    for table in ["accounts", "transfers", "points", "batches"] {
        if database.connection.execute_unprepared(&format!("SELECT 1 FROM {table}")).await.is_ok() {
            there.push(table);
        }
    }
    there
}

/// SQLite: with the default journal mode.
async fn theirs(test: &TestDatabase) -> Database {
    if test.server == Server::Sqlite {
        let url = format!("sqlite://{}?mode=rwc", test.file().display());
        let created = sea_orm::Database::connect(url).await.expect("a file");
        created.execute_unprepared("CREATE TABLE theirs (id INT)").await.expect("a table");
        created.close().await.expect("the connection closes");
    }
    test.connect_for_analysis().await
}

fn whole_file(test: &TestDatabase) -> Vec<u8> {
    if test.server == Server::Sqlite { fs::read(test.file()).expect("the file exists") } else { Vec::new() }
}

async fn a_table_of_another_program_is_refused(server: &TestServer) {
    let bigint = if server.server == Server::Sqlite { "INTEGER" } else { "BIGINT" };
    let time = if server.server == Server::Sqlite { "timestamp_with_timezone_text" } else { "TIMESTAMPTZ" };
    let account = |id: &str, balance: &str, more: &str| {
        format!(
            "id {bigint} {id}, balance {balance} NOT NULL, opening_balance {bigint} NOT NULL, created_at {time} NOT NULL{more}"
        )
    };
    let key = "NOT NULL PRIMARY KEY";
    for (table, columns, words) in [
        ("accounts", format!("id {bigint} {key}, name TEXT"), "it has no column balance"),
        ("accounts", account(key, bigint, ", name TEXT"), "the bank's has no column name"),
        ("accounts", account(key, "NUMERIC", ""), "its column is balance numeric NOT NULL, not balance"),
        ("accounts", account("NOT NULL", bigint, ""), "its column is id"),
        ("accounts", format!("id {bigint} {key}, balance {bigint}"), "its column is balance"),
        ("transfers", format!("id {bigint} {key}"), "its column is id"),
        ("points", format!("id {bigint} {key}, x INTEGER"), "column"),
        ("batches", "name TEXT PRIMARY KEY".to_owned(), "it has no column id"),
    ] {
        let test = server.empty_database().await;
        let database = theirs(&test).await;
        execute(&database, &format!("CREATE TABLE {table} ({columns})")).await;
        if columns.ends_with("TEXT") && columns.contains("id ") {
            let values =
                if columns.contains("balance") { "1, 0, 0, '2026-01-01 00:00:00', 'x'" } else { "1, 'x'" };
            execute(&database, &format!("INSERT INTO {table} VALUES ({values})")).await;
        }
        let rows = count(&database, table).await;
        let before = whole_file(&test);
        let named = format!("\"{table}\" belongs to another program");
        is_refused(&test, &["up"], &[&named, words, "database of its own"]);
        assert_eq!(succeeds(&test, &["status"]).matches("Pending").count(), migration::total());
        assert_eq!(tables(&database).await, [table], "nothing else was created");
        for arguments in [&["refresh"][..], &["down", "-n", "6"], &["reset"]] {
            assert_eq!(
                migration(&test, arguments).status.success(),
                arguments[0] != "refresh",
                "{arguments:?}"
            );
        }
        assert_eq!(count(&database, table).await, rows);
        let (code, line) = one_line(&run(test.program("seabank"), &["demo", "--quiet"]));
        assert!(code == Some(1) && line.contains(&named), "{line}");
        assert!(whole_file(&test) == before, "the file is unchanged");
    }
    for view in ["accounts", "points"] {
        let test = server.empty_database().await;
        let database = test.connect_for_analysis().await;
        execute(&database, "CREATE TABLE theirs (id INT PRIMARY KEY)").await;
        execute(&database, &format!("CREATE VIEW {view} AS SELECT id FROM theirs")).await;
        is_refused(&test, &["up"], &["belongs to another program, it is a view"]);
    }
}

/// CockroachDB v20.x hides tables without privileges.
async fn a_table_that_this_user_has_no_rights_on_is_refused(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    let role = format!("{}_migrator", test.name);
    let (admin, create) = match server.server {
        Server::Cockroach => ("root@", format!("CREATE ON DATABASE {}", test.name)),
        Server::Postgres | Server::Sqlite => ("postgres@", "CREATE ON SCHEMA public".to_owned()),
    };
    for sql in [
        "CREATE TABLE accounts (id BIGINT PRIMARY KEY, name TEXT)".to_owned(),
        format!("CREATE ROLE {role} LOGIN"),
        format!("GRANT {create} TO {role}"),
    ] {
        execute(&database, &sql).await;
    }
    is_refused(
        &test,
        &["up", "-u", &test.url().replace(admin, &format!("{role}@"))],
        &["\"accounts\" belongs to another program"],
    );
    assert_eq!(succeeds(&test, &["status"]).matches("Pending").count(), migration::total());
    execute(&database, "DROP TABLE IF EXISTS seaql_migrations, seaql_migrations_lock").await;
    execute(&database, &format!("REVOKE {create} FROM {role}")).await;
    execute(&database, &format!("DROP ROLE {role}")).await;
}

async fn an_index_of_another_program_is_refused(server: &TestServer) {
    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    succeeds(&test, &["up", "-n", "2"]);
    execute(&database, "CREATE INDEX transfers_source_id_idx ON transfers (target_id)").await;
    let words =
        ["\"transfers_source_id_idx\" belongs to another program, it is on target_id, not on source_id"];
    is_refused(&test, &["up"], &words);
    assert_eq!(succeeds(&test, &["status"]).matches("Applied").count(), 2);

    let test = server.empty_database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "CREATE TABLE theirs (source_id BIGINT)").await;
    execute(&database, "CREATE INDEX transfers_source_id_idx ON theirs (source_id)").await;
    if server.server == Server::Cockroach {
        // There, index names are unique per table only.
        succeeds(&test, &["up"]);
        succeeds(&test, &["reset"]);
        execute(&database, "SELECT 1 FROM theirs@transfers_source_id_idx").await;
    } else {
        is_refused(&test, &["up"], &["it is an index of the table theirs"]);
        assert_eq!(tables(&database).await, [""; 0]);
    }
}

/// As recorded by an older version.
async fn a_table_replaced_by_another_program_is_not_dropped(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "DROP TABLE batches").await;
    execute(&database, "CREATE TABLE batches (id BIGINT PRIMARY KEY, recipe TEXT)").await;
    execute(&database, "INSERT INTO batches VALUES (1, 'bread')").await;
    for arguments in [&["down"][..], &["down", "-n", "6"], &["refresh"], &["reset"]] {
        is_refused(&test, arguments, &["\"batches\" belongs to another program"]);
        assert_eq!(count(&database, "batches").await, 1);
        assert_eq!(succeeds(&test, &["status"]).matches("Applied").count(), migration::total());
    }
    let examined = run(test.program("seabank"), &["doctor", "--format", "json"]);
    assert_eq!(examined.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&examined.stdout).contains("belongs to another program"));
}

async fn foreign_objects_stay(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "CREATE TABLE theirs (id BIGINT PRIMARY KEY)").await;
    execute(&database, "INSERT INTO theirs VALUES (1)").await;
    for arguments in [&["down", "-n", "6"][..], &["up"], &["refresh"], &["reset"], &["up"]] {
        succeeds(&test, arguments);
        assert_eq!(count(&database, "theirs").await, 1, "{arguments:?}");
    }
}

async fn fresh_asks_first(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect_for_analysis().await;
    execute(&database, "CREATE TABLE theirs (id BIGINT PRIMARY KEY)").await;
    let (code, line) = one_line(&migration(&test, &["fresh"]));
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains("--yes") && line.contains("MIGRATION_YES") && line.contains("theirs"), "{line}");
    assert_eq!(count(&database, "theirs").await, 0);
    let mut no = test.program("migration");
    no.env("MIGRATION_YES", "0");
    assert_eq!(run(no, &["fresh"]).status.code(), Some(2));
    let mut yes = test.program("migration");
    yes.env("MIGRATION_YES", "1");
    let dropped = run(yes, &["fresh"]);
    assert!(dropped.status.success(), "{dropped:?}");
    assert!(String::from_utf8_lossy(&dropped.stdout).contains("Dropped table theirs"));
    succeeds(&test, &["fresh", "--yes"]);
}
