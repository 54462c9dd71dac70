//! Runs pgbench: a connection per client, waiting for answers only.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tests::{Postgres, TestDatabase};

use crate::TIME;

/// Our session settings.
const SESSION: &str = "-c default_transaction_isolation=serializable -c enable_seqscan=off";

fn program() -> PathBuf {
    let beside = Postgres::find().map(|folder| folder.join("pgbench")).filter(|it| it.is_file());
    beside.unwrap_or_else(|| "pgbench".into())
}

/// pgbench's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Parsed and planned each time: its default.
    Simple,
    /// Prepared once, as ours.
    Prepared,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Prepared => "prepared",
        }
    }
}

/// Runs a script; returns transactions per second.
pub(crate) fn run(test: &TestDatabase, script: &str, clients: u32, protocol: Protocol) -> f64 {
    let folder = TempDir::with_prefix("seabank-pgbench-").expect("a folder can be made");
    let file = folder.path().join("script.sql");
    fs::write(&file, script).expect("it can be written");
    let mut command = Command::new(program());
    command.args(["--no-vacuum", "--protocol", protocol.name(), "--max-tries", "0"]);
    command.args(["--client", &clients.to_string(), "--jobs", &clients.min(2).to_string()]);
    command.args(["--time", &TIME.as_secs().to_string()]).arg("--file").arg(&file);
    command.arg(test.url().replacen("cockroachdb://", "postgresql://", 1)).env("PGOPTIONS", SESSION);
    let output = command.output().expect("pgbench is installed with PostgreSQL");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("failed transactions: 0 "), "{told}{errors}");
    let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    tps.and_then(|tps| tps.parse().ok()).unwrap_or_else(|| panic!("{told}{errors}"))
}
