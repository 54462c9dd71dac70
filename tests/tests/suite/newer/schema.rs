//! Schema changes on newer CockroachDB, imitated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use database::Server;
use tests::{Kind, Played, TestServer, WebFile};

use super::{error, line, migration, newer, seabank};
use crate::books::execute;

/// v24.3: the statement timeout covers the schema change's job.
pub(super) async fn the_first_up_does_not_loop_on_a_slow_cluster(server: &TestServer) {
    let test = server.empty_database().await;
    let mut limited = BTreeSet::new();
    let (_proxy, url) = newer(&test, move |request| {
        if request.text.starts_with("SET statement_timeout = 5000") {
            limited.insert(request.connection);
        }
        let changes = request.text.starts_with("CREATE ") && limited.contains(&request.connection);
        changes.then(|| error("57014", "query execution canceled due to statement timeout")).flatten()
    })
    .await;
    let output = migration(&test, &url, &["up"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// v26.2: buffered writes take no locks before COMMIT.
pub(super) async fn the_migration_lock_holds_with_buffered_writes(server: &TestServer) {
    let test = server.empty_database().await;
    let (mut at_once, buffered) = (BTreeSet::new(), Arc::new(AtomicBool::new(false)));
    let kept_back = Arc::clone(&buffered);
    let (_proxy, url) = newer(&test, move |request| {
        if request.text.contains("SET kv_transaction_buffered_writes_enabled = off") {
            at_once.insert(request.connection);
        }
        if request.text.starts_with("UPSERT") && !at_once.contains(&request.connection) {
            kept_back.store(true, Ordering::Relaxed);
            return Some(Played::Text("SELECT 1".to_owned()));
        }
        None
    })
    .await;
    let migrators = [(); 3].map(|()| {
        let mut migration = test.program("migration");
        migration.args(["up", "--database-url", &url]).stdout(std::process::Stdio::null());
        migration.spawn().expect("the process starts")
    });
    for mut migrator in migrators {
        assert!(migrator.wait().expect("the process ends").success());
    }
    assert!(!buffered.load(Ordering::Relaxed), "the migration lock was a buffered write");
}

pub(crate) const LOCKED: &str = "this schema change is disallowed because table \"accounts\" is locked and this operation cannot \
    automatically unlock the table";

/// v26.1 locks new tables against schema changes.
pub(super) async fn a_migration_names_a_locked_table(server: &TestServer) {
    let test = server.database().await;
    let (_proxy, url) = newer(&test, |request| {
        let drops = request.text.starts_with("DROP ");
        drops.then(|| error("57000", LOCKED)).flatten()
    })
    .await;
    let line = line(&migration(&test, &url, &["down"]), 1);
    assert!(line.contains("table \"accounts\" is locked"), "{line}");
    assert!(line.contains("ALTER TABLE … SET (schema_locked = false)"), "{line}");
}

pub(super) async fn an_import_names_a_locked_table(server: &TestServer) {
    let test = server.database().await;
    let file = WebFile::start("id,balance,opening_balance\n1,10,10\n").await.expect("a port is free");
    let unlocked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&unlocked);
    let (_proxy, url) = newer(&test, move |request| {
        if request.text.contains("SET create_table_with_schema_locked = off") {
            asked.store(true, Ordering::Relaxed);
        }
        let imports = request.text.starts_with("IMPORT INTO");
        imports.then(|| error("57000", LOCKED)).flatten()
    })
    .await;
    let (output, _) = seabank(&test, &url, &["import", "--server-side", &file.url("accounts.csv")]);
    let line = line(&output, 1);
    assert!(line.contains("table \"accounts\" is locked"), "{line}");
    assert!(line.contains("ALTER TABLE … SET (schema_locked = false)"), "{line}");
    assert!(unlocked.load(Ordering::Relaxed), "the bank's tables are created unlocked");
}

/// v26.1: `pg_catalog` may be cached.
pub(super) async fn a_table_missing_from_the_catalog_is_accepted(server: &TestServer) {
    let test = server.empty_database().await;
    let (_proxy, url) = newer(&test, |request| {
        let looks = request.kind == Kind::Prepare
            && request.text.contains("WHERE n.nspname = current_schema() AND c.relname = $1 UNION");
        looks.then(|| {
            Played::Text(request.text.replace("c.relname = $1 UNION", "c.relname = $1 AND false UNION"))
        })
    })
    .await;
    let output = migration(&test, &url, &["up"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The same for the database and its user: 42P04 and 42710 mean that they exist.
pub(super) async fn a_database_and_a_user_missing_from_the_catalog_are_accepted(server: &TestServer) {
    let admin = server.empty_database().await;
    let name = format!("{}_cached", admin.name);
    let init = ["init", "--no-password", "--database", &name, "--user", &name];
    let (first, answer) = seabank(&admin, admin.url(), &init);
    assert_eq!(first.status.code(), Some(0), "{answer}");
    let proxy = admin.proxy().await;
    let catalogs = ["pg_database WHERE datname = ", "pg_roles WHERE rolname = "];
    let cockroach = server.server == Server::Cockroach;
    proxy.play(move |request| {
        let at_start = request.text.contains("current_database()");
        let catalog = catalogs.iter().find(|catalog| request.text.contains(**catalog))?;
        if at_start && !cockroach {
            return None;
        }
        let cached = catalog.replace("WHERE ", "WHERE false AND ");
        Some(Played::Text(request.text.replace(catalog, &cached)))
    });
    let (second, answer) = seabank(&admin, &proxy.url(admin.url()), &init);
    assert_eq!(second.status.code(), Some(0), "{answer} {}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(
        (&answer["database_created"], &answer["user_created"]),
        (&false.into(), &false.into()),
        "{answer}"
    );
    let database = admin.connect().await;
    let cascade = if cockroach { " CASCADE" } else { "" };
    execute(&database, &format!("DROP DATABASE {name}{cascade}")).await;
    execute(&database, &format!("DROP USER {name}")).await;
}
