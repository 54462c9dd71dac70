//! PgBouncer in front of a PostgreSQL, on a free port of 127.0.0.1.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use url::Url;

use crate::StartError;
use crate::process::{Process, free_port, in_path};
use crate::proxy::led_through;
use crate::user::User;

/// A running PgBouncer, stopped when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    // First field: the process ends before its folder is deleted.
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
}

impl PgBouncer {
    pub(crate) const REMEDY: &str = "install pgbouncer";

    /// The program in PATH or in Debian's folder.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        in_path("pgbouncer").or_else(|| Some(PathBuf::from("/usr/sbin/pgbouncer")).filter(|it| it.is_file()))
    }

    /// Starts one for the server of `url`, with `settings` as `name = value`. Every client becomes
    /// the URL's user.
    ///
    /// # Errors
    ///
    /// From the operating system, or its output.
    pub async fn start(program: &Path, url: &str, settings: &[&str]) -> Result<Self, StartError> {
        let io = |error: std::io::Error| failed(error.to_string());
        let folder = TempDir::with_prefix("seabank-pgbouncer-").map_err(io)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().map_err(io)?));
        let url = Url::parse(url).expect("the harness makes good URLs");
        let server = url.port().expect("a server of the harness has a port");
        let text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server} user={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             server_tls_sslmode = disable\nmax_client_conn = 1000\n{}\n",
            url.username(),
            address.port(),
            settings.join("\n"),
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, text).map_err(io)?;
        let mut command = Command::new(program);
        command.arg(&file).current_dir(folder.path());
        if let Some(user) = User::unprivileged() {
            user.owns(folder.path()).and_then(|()| user.owns(&file)).map_err(io)?;
            user.runs(&mut command);
        }
        let mut process = Process::spawn(&mut command, &folder.path().join("log"), "TERM").map_err(io)?;
        process.listens(address).await.map_err(failed)?;
        Ok(Self { _process: process, _folder: folder, address })
    }

    /// Where it takes sessions.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A server's URL, through this pooler.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        led_through(self.address, url)
    }
}

fn failed(reason: String) -> StartError {
    StartError { server: "PgBouncer", reason }
}
