//! A CockroachDB node with certificates. Clients need a certificate or a password.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::StartError;
use crate::node::{command, failed};
use crate::process::{Process, free_port};

/// A node in memory, stopped when dropped.
#[derive(Debug)]
pub struct SecureCockroach {
    // First field: the process ends before its folder is deleted.
    _process: Process,
    folder: TempDir,
    port: u16,
}

impl SecureCockroach {
    /// Creates the certificates and starts the node.
    ///
    /// # Errors
    ///
    /// The output of the program or the node.
    pub async fn start(program: &Path) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix("seabank-secure-").map_err(|e| failed(e.to_string()))?;
        for make in [
            &["create-ca"][..],
            // The node also connects to itself.
            &["create-node", "localhost", "127.0.0.1"],
            &["create-client", "root"],
        ] {
            let mut cert = command(program, folder.path());
            cert.arg("cert").args(make).args(["--certs-dir=certs", "--ca-key=ca.key"]);
            let made = cert.output().map_err(|e| failed(e.to_string()))?;
            if !made.status.success() {
                return Err(failed(format!("cert: {}", String::from_utf8_lossy(&made.stderr).trim())));
            }
        }
        let free = || free_port().map_err(|e| failed(e.to_string()));
        let (port, http) = (free()?, free()?);
        let mut node = command(program, folder.path());
        node.args(["start-single-node", "--certs-dir=certs", "--store=type=mem,size=1GiB"])
            .arg("--logtostderr=WARNING")
            .arg(format!("--listen-addr=127.0.0.1:{port}"))
            .arg(format!("--http-addr=127.0.0.1:{http}"));
        let log = folder.path().join("log");
        let mut process = Process::spawn(&mut node, &log, "KILL").map_err(|e| failed(e.to_string()))?;
        process.ready(&admin(folder.path(), port, "defaultdb")).await.map_err(failed)?;
        Ok(Self { _process: process, folder, port })
    }

    /// The root user's URL, with a client certificate.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        admin(self.folder.path(), self.port, database)
    }

    /// The folder of certificates, with CockroachDB's names.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("certs")
    }
}

fn admin(folder: &Path, port: u16, database: &str) -> String {
    let certs = folder.join("certs");
    let certs = certs.display();
    format!(
        "cockroachdb://root@localhost:{port}/{database}?sslmode=verify-full&sslrootcert={certs}/ca.crt\
         &sslcert={certs}/client.root.crt&sslkey={certs}/client.root.key"
    )
}
