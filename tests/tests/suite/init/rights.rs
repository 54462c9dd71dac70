//! The rights that `init` needs.

use database::Server;
use tests::{TestServer, scalar};

use super::{NewBank, migrate, seabank};
use crate::books::execute;

pub(super) async fn administrator(fresh: &NewBank, options: &str) -> (String, String) {
    let role = format!("{}_admin", fresh.admin.name);
    execute(&fresh.admin.connect().await, &format!("CREATE ROLE {role} LOGIN {options}")).await;
    let url =
        fresh.admin.url().replace("postgres@", &format!("{role}@")).replace("root@", &format!("{role}@"));
    (role, url)
}

pub(super) async fn an_administrator_without_superuser_can_repeat_init(server: &TestServer) {
    let fresh = NewBank::on(server).await;
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

pub(super) async fn without_the_right_to_create_users_nothing_is_created(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let (role, url) = administrator(&fresh, "CREATEDB").await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert!(ended.errors.contains("CREATEROLE") && ended.errors.lines().count() == 1, "{ended:?}");
    assert!(!fresh.is_there().await);
    let admin = fresh.admin.connect().await;
    execute(&admin, &format!("DROP ROLE {role}")).await;
    // No user without a database either.
    let login = if server.server == Server::Cockroach { " CREATELOGIN" } else { "" };
    let (role, url) = administrator(&fresh, &format!("CREATEROLE{login}")).await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    assert_eq!((ended.code, &ended.answer["kind"]), (Some(1), &"denied".into()), "{ended:?}");
    assert!(ended.errors.contains("CREATEDB"), "{ended:?}");
    let users = format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = '{}'", fresh.name);
    assert_eq!(scalar(&admin, &users).await, 0);
    execute(&admin, &format!("DROP ROLE {role}")).await;
}

pub(super) async fn with_both_rights_both_are_created(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let login = if server.server == Server::Cockroach { " CREATELOGIN" } else { "" };
    let (role, url) = administrator(&fresh, &format!("CREATEDB CREATEROLE{login}")).await;
    let ended = fresh.init(&url, None, &["--no-password"]);
    // v22.1-alpha: the creator of a database may not grant rights on it.
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
