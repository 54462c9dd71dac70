//! Since v25.1, CockroachDB's DDL commits the statements before it.

use database::Server;
use sea_orm::{ConnectionTrait, DbErr, Statement, StreamTrait};
use sea_orm_retry::{Policy, Runner, Tx};
use tests::{Loss, Tap, Test, TestServer, tests};

use super::{Log, WIRE, execute, insert};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        ddl_in_a_writing_body_is_refused on &[Server::Cockroach],
        begin_switches_off_commits_before_ddl on WIRE,
    ]
}

async fn ddl_in_a_writing_body_is_refused(server: &TestServer) {
    let log = Log::new(server, 1).await;
    ddl_is_refused(&log.runner).await;
    assert_eq!(log.count().await, 0);
}

/// Prepared or not, in every writing body.
async fn ddl_is_refused(runner: &Runner) {
    let prepared = |sql: &str| Statement::from_string(sea_orm::DbBackend::Postgres, sql);
    for sql in [
        "CREATE TABLE late (id INT8)",
        "/* c */ alter table log add column x int8",
        "TRUNCATE log",
        "-- c\nDROP TABLE log",
        "GRANT SELECT ON log TO public",
    ] {
        for way in 0..3 {
            let body = async |tx: &Tx| {
                insert(tx, 100).await?;
                match way {
                    0 => tx.execute_unprepared(sql).await.map(drop),
                    1 => tx.execute_raw(prepared(sql)).await.map(drop),
                    _ => tx.stream_raw(prepared(sql)).await.map(drop),
                }
            };
            for told in [runner.run("ddl", body).await, runner.run_idempotent("ddl", body).await] {
                let error = told.expect_err("it would commit the statements before it");
                assert!(error.to_string().contains("refused inside a transaction"), "{error}");
            }
        }
    }
}

/// The server that imitates v25.1 does not know it.
const NO_AUTOCOMMIT: &str = "; SET LOCAL autocommit_before_ddl = off";

/// A separate transaction, because it takes effect in the next one.
const NO_BUFFERING: &str = "BEGIN; SET kv_transaction_buffered_writes_enabled = off; COMMIT; ";

async fn begin_switches_off_commits_before_ddl(server: &TestServer) {
    let log = Log::new(server, 1).await;
    let database = log.test.connect().await;
    for (version, first, own) in [
        ("CockroachDB CCL v24.3.9 (x86_64-pc-linux-gnu, built 2025)", "", ""),
        ("CockroachDB CCL v25.1.0 (x86_64-pc-linux-gnu, built 2025)", "", NO_AUTOCOMMIT),
        ("CockroachDB CCL v26.2.1-rc.1 (x86_64-pc-linux-gnu, built 2026)", NO_BUFFERING, NO_AUTOCOMMIT),
    ] {
        let known = |sql: &str| {
            [NO_BUFFERING, NO_AUTOCOMMIT, ", PRIORITY HIGH"]
                .iter()
                .fold(sql.to_owned(), |sql, newer| sql.replace(newer, ""))
        };
        let tap = Tap::new(&database).saying(version).rewriting(known).losing(&[Loss::BeforeCommit]);
        let runner = tap.runner(Policy::default());
        let body = async |tx: &Tx| {
            insert(tx, 1).await?;
            tx.proved_not_applied();
            Ok::<_, DbErr>(tx.attempt())
        };
        assert_eq!(runner.run_idempotent("insert", body).await, Ok(2), "{version}");
        assert_eq!(runner.server(), Some(sea_orm_retry::Server::Cockroach));
        let begun = tap.begun();
        let serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE";
        assert_eq!(
            begun,
            ["", ", PRIORITY HIGH"].map(|priority| format!("{first}{serializable}{priority}{own}")),
            "{version}"
        );
        ddl_is_refused(&runner).await;
        execute(&log.db, "DELETE FROM log").await;
    }
}
