//! Signals.

use super::*;

const LISTENS_MAX: Duration = Duration::from_secs(60);
const ENDS_MAX: Duration = Duration::from_secs(60);

/// Waits until a program listens for SIGTERM.
async fn listens(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    let started = Instant::now();
    let catches = || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim();
        u64::from_str_radix(caught, 16).is_ok_and(|caught| caught & (1 << (15 - 1)) != 0)
    };
    while !catches() {
        assert!(started.elapsed() < LISTENS_MAX, "{status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("it runs").success(), "it has ended");
}

/// Waits for the end; kills the child after a limit.
async fn ended(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().expect("it can be looked at").is_none() {
        if started.elapsed() > ENDS_MAX {
            child.kill().expect("it runs");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.wait_with_output().expect("it ends")
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it can be started")
}

pub(super) async fn sigterm_ends_in_143_and_ctrl_c_in_130(server: &TestServer) {
    let test = server.database().await;
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let child = start(test.program("seabank").args(["workload", "--duration", "10m"]));
        listens(&child).await;
        signal(&child, name);
        let output = ended(child).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(code) && errors.contains("error: interrupted: "),
            "{name}: {output:?}"
        );
    }
}

pub(super) async fn a_pipe_that_nobody_opens_is_left_at_the_first_signal(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    let (pipe, file) = (folder.path("pipe"), folder.write("bad.csv", "id,balance\nx,1\n"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let (pipe, file) = (pipe.to_str().expect("a path"), file.to_str().expect("a path"));
    for arguments in [
        &["import", pipe][..],
        &["import", file, "--on-error", "skip", "--rejects", pipe],
        &["export", "accounts", "--output", pipe],
        &["workload", "--report", pipe],
        &["workload", "--histogram", pipe],
    ] {
        let child = start(test.program("seabank").args(arguments));
        listens(&child).await;
        // Until it blocks on the pipe.
        tokio::time::sleep(Duration::from_millis(300)).await;
        signal(&child, "TERM");
        let output = ended(child).await;
        assert_eq!(output.status.code(), Some(143), "{arguments:?}: {output:?}");
    }
}

pub(super) async fn a_second_signal_leaves_no_unfinished_file(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    test.seabank().args(["seed", "--count", "10"]).assert().success();
    // Writers wait.
    let session = test.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
    execute(&session, "BEGIN").await;
    execute(&session, "LOCK TABLE accounts, transfers IN EXCLUSIVE MODE").await;
    let report = folder.path("report.html");
    let child =
        start(test.program("seabank").args(["workload", "--duration", "10m", "--report"]).arg(&report));
    let watcher = test.connect().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let started = Instant::now();
    while scalar(&watcher, waiting).await == 0 {
        assert!(started.elapsed() < LISTENS_MAX, "no transfer is begun");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let is_there = || fs::read_dir(folder.path("")).expect("it is there").count() > 0;
    assert!(is_there(), "it is begun");
    signal(&child, "INT");
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&child, "INT");
    let output = ended(child).await;
    execute(&session, "ROLLBACK").await;
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(!is_there(), "nothing is left");
}
