//! The new user's password is never shown.

use std::fs::File;
use std::process::Command;

use rustix::termios::{LocalModes, tcgetattr};
use tests::{TestServer, command, scalar};

use super::NewBank;
use crate::pty::Pty;

pub(super) async fn a_final_newline_is_not_part_of_a_password(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let admin = fresh.admin.connect().await;
    let sql = format!(
        "SELECT count(*) FROM pg_authid WHERE rolname = '{}' AND rolpassword IS NOT NULL",
        fresh.name
    );
    for (password, code) in [("s3cret\n", 0), ("s3cret\r\n", 0), ("\n", 2)] {
        let ended = fresh.init(fresh.admin.url(), Some(password), &[]);
        assert_eq!(ended.code, Some(code), "{password:?}: {ended:?}");
        if code == 0 {
            assert_eq!(scalar(&admin, &sql).await, 1);
        }
    }
    fresh.drop().await;
}

pub(super) async fn echo_shows_neither_password_nor_verifier(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    let ended = fresh.init(fresh.admin.url(), Some("s3cret"), &["--echo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.errors.contains("WITH PASSWORD '***'"), "{}", ended.errors);
    assert!(!["s3cret", "SCRAM"].iter().any(|secret| ended.errors.contains(secret)), "{}", ended.errors);
    fresh.drop().await;
}

pub(super) async fn an_interrupted_prompt_leaves_the_terminal_as_it_was(server: &TestServer) {
    let fresh = NewBank::on(server).await;
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let terminal = Pty::open();
        let end = || terminal.end();
        let shows = |end: &File| tcgetattr(end).expect("a terminal").local_modes.contains(LocalModes::ECHO);
        let looking = end();
        assert!(shows(&looking));
        let mut init = Command::new("setsid");
        init.arg("--ctty").arg(command("seabank").get_program()).args(["init", "--database", &fresh.name]);
        init.env("DATABASE_URL", fresh.admin.url()).env_remove("BANK_PASSWORD");
        let mut asking = init.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the process starts");
        while shows(&looking) {
            assert!(asking.try_wait().expect("the process is polled").is_none(), "the prompt waits");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let kill = format!("kill -{signal} {}", asking.id());
        Command::new("sh").args(["-c", &kill]).status().expect("the shell runs");
        assert_eq!(asking.wait().expect("the process ends").code(), Some(code), "{signal}");
        assert!(shows(&looking), "{signal}: the terminal echoes again");
        assert!(!fresh.is_there().await);
    }
}
