use super::*;

const EVERY: [Server; 3] = [Server::Sqlite, Server::Postgres, Server::Cockroach];

#[test]
fn transaction_control_is_refused_however_it_is_dressed() {
    for sql in [
        "BEGIN",
        "begin immediate",
        "  commit ;",
        "-- done\nCOMMIT",
        "/* a comment */ ROLLBACK",
        "/* a /* nested */ comment */ ROLLBACK",
        "/* /* */ COMMIT",
        "-- a\rCOMMIT",
        "Rollback to savepoint cockroach_restart",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "END",
        "ABORT",
        "START TRANSACTION",
        "PREPARE TRANSACTION 'a'",
        "COMMIT PREPARED 'a'",
        ";COMMIT",
        ";;-- x\n ; COMMIT",
        "\u{a0}COMMIT",
        "\u{feff}COMMIT",
        "\x0bCOMMIT",
        "END\u{a0}",
        "COMMIT\u{feff}",
        "SELECT '\0'",
        "\"COMMIT\"",
        "",
        " -- nothing",
        "/* open",
    ] {
        for server in EVERY {
            assert!(check(server, true, sql).is_err(), "{sql:?} on {server}");
        }
    }
    for sql in [
        "SELECT 1; COMMIT",
        "SELECT 1;\u{a0}COMMIT",
        "SELECT ';'; COMMIT",
        "SELECT 1; /* ; */ END",
        "SELECT 1; /* ; */ SELECT 2; COMMIT",
        "SELECT 1 AS [']; COMMIT",
        "SELECT 2 - 1; COMMIT",
        "SELECT 2 / 1; COMMIT",
        "SELECT 1 --\n; COMMIT",
        "SELECT 1 /*/ ; */; COMMIT",
        "SELECT 'it''s'; COMMIT",
        "SELECT 1 AS `'`; COMMIT",
        "SELECT 1 AS \"'\"; COMMIT",
        "CREATE TABLE trigger (a); COMMIT",
        "CREATE TRIGGER t INSERT ON a BEGIN SELECT 1; END; COMMIT",
    ] {
        assert!(check(Server::Sqlite, true, sql).is_err(), "{sql:?}");
    }
    for sql in [
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "set local transaction_isolation = 'x'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "DISCARD ALL",
        "DEALLOCATE a",
        "COPY t FROM STDIN",
    ] {
        for server in EVERY {
            assert!(check(server, true, sql).is_err(), "{sql:?} on {server}");
        }
    }
}

#[test]
fn other_statements_pass() {
    for sql in [
        "SELECT 1",
        "select 'COMMIT; ROLLBACK'",
        "SELECT 1;",
        "INSERT INTO t VALUES ('a;b')",
        "WITH j AS (SELECT 1) SELECT * FROM j",
        "(SELECT 1)",
        "EXPLAIN SELECT 1",
        "SET LOCAL lock_timeout = 1000",
        "SET CONSTRAINTS ALL DEFERRED",
        "COMMITTED",
        "-- begin\nSELECT 1",
        "/* a comment longer than the rest */ SELECT 1",
        "SELECT -- a line of Windows\r\n 1",
        "SELECT 1 /* ; */, 2",
        "SELECT 2 - 1 -- ; COMMIT",
    ] {
        for server in EVERY {
            assert_eq!(check(server, true, sql), Ok(false), "{sql} on {server}");
        }
    }
    let function = "CREATE FUNCTION f() RETURNS int8 BEGIN ATOMIC SELECT 1; SELECT 2; END";
    assert_eq!(check(Server::Postgres, true, function), Ok(false));
    let trigger =
        "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET b = ';'; SELECT 2; END; SELECT 1";
    assert_eq!(check(Server::Sqlite, true, trigger), Ok(false));
}

#[test]
fn a_copy_is_one_statement() {
    for sql in [
        "COPY t FROM STDIN",
        "/* all */ copy t (a) from stdin ;\n",
        "COPY t FROM STDIN WITH (DELIMITER ';', NULL ';')",
    ] {
        assert_eq!(check_copy(sql), Ok(()), "{sql}");
    }
    for sql in [
        "COMMIT",
        "SET x = 1",
        "",
        "\u{a0}COPY t FROM STDIN",
        "COPY t FROM STDIN; COMMIT",
        "COPY t FROM STDIN WITH (NULL ';'); COMMIT",
        "COPY t FROM STDIN NULL E'\\';'; COMMIT",
        "COPY t FROM STDIN;COMMIT;",
        "COPY t FROM STDIN\0",
    ] {
        assert!(check_copy(sql).is_err(), "{sql}");
    }
}

#[test]
fn what_changes_the_session_is_told_and_ddl_is_refused_on_cockroachdb_where_it_writes() {
    for sql in [
        "SET lock_timeout = 1",
        "set session x = 1",
        "RESET ALL",
        "PREPARE p AS SELECT 1",
        "LISTEN a",
        "SET ROLE x",
    ] {
        assert_eq!(check(Server::Postgres, true, sql), Ok(true), "{sql}");
    }
    for sql in ["CREATE TABLE t (id INT8)", " alter table t add c int8", "/* x */ DROP TABLE t", "TRUNCATE t"]
    {
        assert!(check(Server::Cockroach, true, sql).is_err(), "{sql}");
        assert_eq!(check(Server::Cockroach, false, sql), Ok(false), "{sql}");
        assert_eq!(check(Server::Postgres, true, sql), Ok(false), "{sql}");
    }
}

#[test]
fn a_reading_transaction_on_sqlite_cannot_switch_writing_on() {
    for sql in ["PRAGMA query_only = OFF", "pragma main.\"QUERY_ONLY\"(0)", "SELECT 1; PRAGMA query_only=0"] {
        assert!(check(Server::Sqlite, false, sql).is_err(), "{sql}");
        assert!(check(Server::Sqlite, true, sql).is_ok(), "{sql}");
    }
}
