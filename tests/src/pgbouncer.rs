//! PgBouncer in front of a server, where it is installed.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::unprivileged;
use crate::process::{Process, free_port, in_path};

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(30);

/// A pooler; it ends when it goes out of scope.
#[derive(Debug)]
pub struct PgBouncer {
    // First: the process ends before its folder goes.
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// The program, where there is one.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        in_path("pgbouncer")
            .or_else(|| Some(PathBuf::from("/usr/sbin/pgbouncer")).filter(|file| file.is_file()))
    }

    /// Starts one in front of the server of a URL, with `settings` of its own, each as `name = value`. Every client is its
    /// user of the server.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    pub async fn start(program: &PathBuf, server: &str, settings: &[&str]) -> Self {
        let server = url::Url::parse(server).expect("a server's URL");
        let port = free_port().expect("a port is free");
        let folder = TempDir::with_prefix("seabank-pgbouncer-").expect("a folder can be made");
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\n{}\n",
            server.port().expect("it has a port"),
            server.username(),
            settings.join("\n"),
        );
        fs::write(&file, text).expect("it can be written");
        let mut command = Command::new(program);
        command.arg(&file).current_dir(folder.path());
        if let Some(user) = unprivileged() {
            for path in [folder.path(), &file] {
                chown(path, Some(user.id), Some(user.group)).expect("root may give it away");
            }
            command.uid(user.id).gid(user.group);
        }
        let process = Process::spawn(&mut command, &folder.path().join("log"), "INT").expect("it starts");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < START_MAX, "PgBouncer does not listen: {}", process.last_lines());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { _process: process, _folder: folder, port }
    }

    /// The URL of a database, led through it.
    ///
    /// # Panics
    ///
    /// Where it is no URL of a server.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        crate::proxy::led_through(([127, 0, 0, 1], self.port).into(), url)
    }
}
