//! `cockroach workload run bank`, if the binary has it: one UPDATE of two balances, no journal.

use std::path::PathBuf;
use std::process::Command;

use tests::{TestDatabase, TestServer};

use crate::{ACCOUNTS, TIME};

pub(crate) struct Workload {
    program: PathBuf,
    url: String,
}

impl Workload {
    /// Creates its tables; otherwise the reason why not.
    pub(crate) fn init(server: &TestServer, test: &TestDatabase) -> Result<Self, String> {
        let program = server.program().ok_or("the server's program is not known")?.to_owned();
        let url = test.url().replacen("cockroachdb://", "postgres://", 1);
        let url = url.replacen(&format!("/{}?", test.name), "/bank?", 1);
        let peer = Self { program, url };
        peer.run(&["init", "bank", "--rows", &ACCOUNTS.to_string()])?;
        Ok(peer)
    }

    /// Operations a second.
    pub(crate) fn measure(&self, clients: u32) -> Result<f64, String> {
        let (clients, time) = (clients.to_string(), format!("{}s", TIME.as_secs()));
        let rows = ACCOUNTS.to_string();
        let told =
            self.run(&["run", "bank", "--rows", &rows, "--concurrency", &clients, "--duration", &time])?;
        // The result's head ends in `__result`; the third word below is ops/s.
        let line = told.lines().skip_while(|line| !line.trim_end().ends_with("__result")).nth(1);
        let ops = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        ops.ok_or_else(|| format!("workload says: {told}"))
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.arg("workload").args(arguments).arg(&self.url).current_dir(std::env::temp_dir());
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}
