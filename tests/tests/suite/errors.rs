//! docs/errors.md equals the closure's table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use database::Server;
use sea_orm_retry::{Class, Phase, Verdict, decide};
use tests::{Test, TestServer, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![the_document_equals_the_table on &[Server::Sqlite]]
}

const MATRIX: &str = "every_fault_at_every_point_ends_as_declared";
const TABLE: &str = "every_code_is_decided_as_the_table_says";

/// SQLSTATEs, meaning, test. A final `…` matches every code with that prefix.
type Row = (&'static [&'static str], &'static str, &'static str);

/// What the errors of a class have in common, and their rows.
const CLASSES: [(Class, &str, &[Row]); 12] = [
    (
        Class::Conflict,
        "The server gave the transaction up in favour of another.",
        &[
            (&["40001"], "serialization failure", MATRIX),
            (&["40P01"], "deadlock detected", MATRIX),
            (&["XX000"], "PostgreSQL: two updaters of one row, of which one aborts", MATRIX),
            (
                &["XX000"],
                "PostgreSQL: the object was altered concurrently",
                "a_grant_that_meets_another_is_retried",
            ),
            (&["CR000"], "CockroachDB before v1.0: retry the transaction", TABLE),
            (&["5", "261", "517", "773"], "SQLITE_BUSY, _RECOVERY, _SNAPSHOT, _TIMEOUT", TABLE),
            (&["6", "262"], "SQLITE_LOCKED, _SHAREDCACHE", TABLE),
        ],
    ),
    (
        Class::Lost,
        "The session has ended, or its server is not ready.",
        &[
            (&["08…"], "connection exception", "class_08_is_a_lost_link_except_for_protocol_violations"),
            (&["25P03", "25P04"], "timeout of an idle or long transaction", TABLE),
            (&["40003"], "CockroachDB: result is ambiguous", MATRIX),
            (&["53300"], "too many connections", MATRIX),
            (&["57P01", "57P03"], "the server is stopping, is starting", MATRIX),
            (&["57P02", "57P04", "57P05"], "crash shutdown, database dropped, idle session timeout", TABLE),
            (&["58C00"], "CockroachDB: a range is unavailable", TABLE),
            (&["58C01"], "CockroachDB: a node is not reached", MATRIX),
            (
                &["XXC02"],
                "CockroachDB: throttled without a licence",
                "a_cluster_without_a_licence_is_reported_with_advice",
            ),
            (&["XXUUU"], "CockroachDB: an internal error without a code", TABLE),
        ],
    ),
    (
        Class::ReadOnly,
        "The server takes no writes, for example after a switchover.",
        &[(&["25006"], "read-only transaction", "a_temporarily_read_only_server_is_waited_for")],
    ),
    (
        Class::Stale,
        "A prepared statement no longer fits its tables, is gone, or its name is taken.",
        &[
            (
                &["0A000"],
                "cached plan must not change result type",
                "a_stale_plan_is_retried_once_on_the_same_connection_without_its_plans",
            ),
            (&["26000"], "prepared statement does not exist", TABLE),
            (
                &["42P05"],
                "prepared statement already exists",
                "named_statements_mixed_up_by_a_pooler_are_reported",
            ),
        ],
    ),
    (
        Class::Duplicate,
        "A key exists. It can be the transaction's own id, from an earlier attempt.",
        &[
            (&["23505"], "unique violation", MATRIX),
            (&["1555", "2067"], "SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE", TABLE),
        ],
    ),
    (
        Class::Constraint,
        "Another constraint is violated.",
        &[
            (&["23…"], "integrity constraint violation", MATRIX),
            (&["19", "787", "…"], "SQLITE_CONSTRAINT and its extended codes", TABLE),
        ],
    ),
    (
        Class::Aborted,
        "Nothing could be done: the transaction had failed before, or the disk is full.",
        &[
            (&["25P02"], "current transaction is aborted", MATRIX),
            (&["3B001"], "savepoint does not exist", TABLE),
            (&["13"], "SQLITE_FULL", TABLE),
        ],
    ),
    (
        Class::Committed,
        "The transaction is committed, and a schema change in it failed.",
        &[(
            &["XXA00"],
            "CockroachDB: committed, schema change aborted",
            "an_error_after_the_commit_is_ignored",
        )],
    ),
    (
        Class::Definite,
        "A parser, a type or a rights check refused the statement, which did nothing.",
        &[
            (&["22…"], "data exception, such as 22003 numeric value out of range", MATRIX),
            (
                &["25…", "28…", "2B…", "3D…", "3F…", "42…", "54…"],
                "state, login, dependency, catalog, schema, syntax or right, limit",
                TABLE,
            ),
            (
                &["42704"],
                "such as a setting of BEGIN that CockroachDB does not know, which is then left out",
                "a_setting_unknown_to_the_server_is_sent_once",
            ),
        ],
    ),
    (
        Class::Driver,
        "The driver, or the protocol, refused a request that was not carried out.",
        &[(
            &["08P01"],
            "protocol violation with severity ERROR",
            "class_08_is_a_lost_link_except_for_protocol_violations",
        )],
    ),
    (
        Class::Internal,
        "The server's own trouble, after which it may or may not have done the work.",
        &[
            (&["58…"], "system error", TABLE),
            (&["57P…"], "other operator intervention", TABLE),
            (&["XX…"], "internal error", MATRIX),
        ],
    ),
    (
        Class::Other,
        "Every other code, and errors without one.",
        &[
            (&["57014"], "query canceled, such as statement_timeout", MATRIX),
            (&["P0001"], "raised by a function or trigger", TABLE),
            (&["…"], "anything else", "at_commit_nothing_is_believed_that_is_not_known"),
        ],
    ),
];

/// `REGENERATE=1 cargo test -p tests --test suite -- errors` writes the document.
async fn the_document_equals_the_table(_: &TestServer) {
    let written = document();
    let path = root().join("docs/errors.md");
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&path, &written).expect("the document can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/errors.md");
    let line = committed.lines().zip(written.lines()).find(|(is, should)| is != should);
    let how = "REGENERATE=1 cargo test -p tests --test suite -- errors";
    assert_eq!(committed, written, "docs/errors.md is not what the table says ({line:?}): {how}");

    codes_belong_to_their_classes();
    let sources = format!("{}{}", sources("app/retry"), sources("tests/tests"));
    for (_, _, rows) in CLASSES {
        for (_, _, test) in rows {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "docs/errors.md names a test that is not there: {test}"
            );
        }
    }
}

fn codes_belong_to_their_classes() {
    let mut documented = BTreeSet::new();
    for (class, _, rows) in CLASSES {
        for code in rows.iter().flat_map(|(codes, ..)| *codes) {
            documented.insert(code.trim_end_matches('…').to_owned());
            let whole = code.strip_suffix('…').map(|prefix| format!("{prefix:Z<5}"));
            let expected = match (*code, class) {
                // With severity ERROR.
                ("08P01", _) => Class::Lost,
                // With the report of a concurrent transaction.
                ("XX000", Class::Conflict) => Class::Internal,
                _ => class,
            };
            let open_end = *code == "…";
            assert!(open_end || Class::of_code(whole.as_deref().unwrap_or(code)) == expected, "{code}");
        }
    }
    let class = std::fs::read_to_string(root().join("app/retry/src/class.rs")).expect("class.rs");
    let is_code =
        |it: &&str| it.len() < 6 && it.bytes().all(|it| it.is_ascii_digit() || it.is_ascii_uppercase());
    let known = class.split('"').skip(1).step_by(2).filter(is_code);
    let missing: Vec<_> = known.filter(|code| !documented.contains(*code)).collect();
    assert!(missing.is_empty(), "docs/errors.md leaves out {missing:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the workspace").to_path_buf()
}

fn sources(folder: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the project").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&std::fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Retry => "retry",
        Verdict::RetryOnNewConnection => "retry, new connection",
        Verdict::RetryWithoutPlans => "retry once, plans cleared",
        Verdict::RetryIfIdempotent => "retry once if idempotent",
        Verdict::Fail => "fail",
        Verdict::Unknown => "**unknown**",
        Verdict::Committed => "applied",
    }
}

fn document() -> String {
    use sea_orm_retry::Server::{Cockroach, Postgres};
    let mut text = HEAD.to_owned();
    for (class, ..) in CLASSES {
        let _ = write!(text, "| [{class:?}](#{}) |", format!("{class:?}").to_lowercase());
        for phase in [Phase::Begin, Phase::Body, Phase::Commit, Phase::Statement] {
            let (postgres, other) =
                (word(decide(Postgres, phase, class)), word(decide(Cockroach, phase, class)));
            let words = if postgres == other {
                postgres.to_owned()
            } else {
                format!("{postgres}; elsewhere {other}")
            };
            let _ = write!(text, " {words} |");
        }
        text.push('\n');
    }
    text.push_str(MIDDLE);
    for (class, meaning, rows) in CLASSES {
        let _ = write!(text, "\n### {class:?}\n\n{meaning}\n\n| code | condition | test |\n|---|---|---|\n");
        for (codes, condition, test) in rows {
            let codes = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "| {codes} | {condition} | `{test}` |");
        }
    }
    text
}

const HEAD: &str = "# Errors

What the closure does about each SQLSTATE, and about each result code of SQLite. The code and the phase
decide; for 08P01 also the severity, and for PostgreSQL's XX000 the function of the server that reports it
and the words of the error, which are not translated. A test writes this page from the closure's own table and holds it equal.

| phase | what the closure was doing |
|---|---|
| begin | acquiring a connection, BEGIN, SAVEPOINT |
| body | a statement of the body; COMMIT of a transaction that cannot write |
| commit | COMMIT, or the RELEASE of CockroachDB's restart savepoint, which is its commit |
| statement | a whole transaction in one autocommitted statement |

An error while the closure looks up what became of an earlier attempt leaves the run unknown, whatever
the error. `elsewhere` is CockroachDB and SQLite: on PostgreSQL alone an ERROR in answer to COMMIT means
rolled back.

- **retry**: nothing of this attempt is applied. The closure pauses and begins again, within the budget.
- **fail**: nothing is applied, and another attempt would not help.
- **unknown**: the commit is ambiguous. An idempotent body runs again and finds out; any other run ends
  with `may_be_applied`.

| class | begin | body | commit | statement |
|---|---|---|---|---|
";

const MIDDLE: &str = "
## Codes

`…` stands for every other code that begins so.
";
