//! The tutorial's load with SQLAlchemy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGES: [&str; 3] = ["sqlalchemy", "sqlalchemy-cockroachdb", "psycopg2-binary"];

/// Python with its packages.
pub(crate) struct Peer(PathBuf);

impl Peer {
    /// Installs missing packages.
    pub(crate) fn install() -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peer");
        let python = folder.join("bin/python");
        let quietly = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
            let said =
                || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            if output.status.success() { Ok(()) } else { Err(said()) }
        };
        quietly(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        quietly(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        Ok(Self(python))
    }

    /// Loads rows; returns the seconds it took.
    pub(crate) fn load(&self, url: &str, table: &str, rows: u64, chunk: u64) -> f64 {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/loads/peer.py");
        let url = url.replacen("postgres://", "postgresql://", 1);
        let mut command = Command::new(&self.0);
        command.arg(script).args([&url, table, &rows.to_string(), &chunk.to_string()]);
        let output = command.output().expect("it can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it answers in JSON");
        answer["seconds"].as_f64().expect("a time")
    }
}
