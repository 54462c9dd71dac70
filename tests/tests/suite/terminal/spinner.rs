//! The spinner of commands that wait.

use tokio::task::spawn_blocking;

use super::*;
use crate::pty::{Pty, Written};

fn command(arguments: &[&str], url: &str) -> Command {
    let mut command = tests::command("seabank");
    command.args(arguments).args(["--database-url", url]);
    command
}

async fn on_a_terminal(command: Command) -> Written {
    spawn_blocking(move || Pty::open().run(command)).await.expect("it ends")
}

/// Whether a spinner of indicatif's was drawn.
fn has_spinner(text: &str) -> bool {
    text.contains(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
}

pub(super) async fn a_spinner_turns_while_a_command_connects(_: &TestServer) {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = silent.local_addr().expect("it has an address");
    let url = format!("cockroachdb://bank@{address}/bank?sslmode=disable");
    let mut piped = command(&["audit"], &url);
    let (shown, quiet, json, piped) = tokio::join!(
        on_a_terminal(command(&["audit"], &url)),
        on_a_terminal(command(&["audit", "--quiet"], &url)),
        on_a_terminal(command(&["audit", "--format", "json"], &url)),
        spawn_blocking(move || piped.output().expect("it runs")),
    );
    let piped = String::from_utf8(piped.expect("it ends").stderr).expect("text");
    assert!(piped.starts_with("error: ") && piped.lines().count() == 1, "{piped:?}");
    assert!(has_spinner(&shown.text) && shown.text.contains("s connecting"), "{shown:?}");
    assert_eq!((shown.status.code(), shown.screen()), (Some(5), vec![piped.trim_end().to_owned()]));
    for other in [quiet, json] {
        assert!(
            other.status.code() == Some(5) && !other.text.contains('\x1b') && !has_spinner(&other.text),
            "{other:?}"
        );
    }
}

pub(super) async fn a_spinner_turns_while_an_audit_waits(server: &TestServer) {
    let test = server.database().await;
    let session = test.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    execute(&session, "BEGIN").await;
    execute(&session, "LOCK TABLE accounts").await;
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        execute(&session, "ROLLBACK").await;
    };
    let (audited, ()) = tokio::join!(on_a_terminal(command(&["audit"], test.url())), release);
    assert!(has_spinner(&audited.text) && audited.text.contains("s auditing"), "{audited:?}");
    let screen = audited.screen();
    assert!(audited.status.success() && screen.len() == 3, "{screen:?}");
    assert!(
        screen[0].starts_with("0 accounts, ") && screen[2].starts_with("The bank is whole"),
        "{screen:?}"
    );
}

pub(super) async fn lines_are_whole_above_a_spinner(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    let load = ["workload", "--duration", "2s", "--rate", "50", "--display-every", "100ms", "--echo"];
    let loaded = on_a_terminal(command(&load, test.url())).await;
    assert!(has_spinner(&loaded.text) && loaded.text.contains("s loading the bank"), "{loaded:?}");
    let screen = loaded.screen();
    assert!(loaded.status.success() && screen.len() > 100, "{screen:?}");
    let is_torn = |line: &&String| has_spinner(line) || line.contains("loading the bank");
    assert_eq!(screen.iter().find(is_torn), None);
    assert!(screen.last().is_some_and(|line| line.starts_with("The bank is whole")), "{screen:?}");
}

pub(super) async fn a_quick_command_shows_no_spinner(server: &TestServer) {
    let test = server.database().await;
    // A busy machine may make a few of them slow.
    for _ in 0..100 {
        let started = Instant::now();
        let audited = on_a_terminal(command(&["audit"], test.url())).await;
        if started.elapsed() < Duration::from_millis(300) {
            assert!(!audited.text.contains('\x1b') && !has_spinner(&audited.text), "{audited:?}");
            return;
        }
    }
    panic!("no audit of an empty bank took less than 300 ms");
}
