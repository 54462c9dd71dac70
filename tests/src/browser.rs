//! A headless browser for local pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::in_path;

/// Names of Chromium in PATH.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Headless, with a new profile per page and no background traffic.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    // Pages of one folder may read each other.
    "--allow-file-access-from-files",
    // In milliseconds.
    "--timeout=60000",
    // Console messages go to standard error.
    "--enable-logging=stderr",
];

/// An installed browser.
#[derive(Clone, Debug)]
pub struct Browser(PathBuf);

/// A loaded page.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The document after its scripts have run.
    pub document: String,
    /// The console's messages, errors included.
    pub console: Vec<String>,
}

impl Browser {
    pub(crate) const REMEDY: &str = "install chromium";

    /// The first browser in PATH.
    #[must_use]
    pub fn find() -> Option<Self> {
        NAMES.into_iter().find_map(in_path).map(Self)
    }

    /// Loads a page.
    #[must_use]
    pub fn open(&self, page: &Path) -> Seen {
        let profile = TempDir::with_prefix("seabank-browser-").expect("a folder can be made");
        let errors = profile.path().join("errors");
        let mut command = Command::new(&self.0);
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
        command.args(["--window-size=1200,900", "--dump-dom"]).arg(format!("file://{}", page.display()));
        command.stdin(Stdio::null()).stderr(fs::File::create(&errors).expect("a file can be made"));
        let output = command.output().expect("the browser starts");
        let errors = fs::read(&errors).expect("it was made");
        let errors = String::from_utf8_lossy(&errors);
        assert!(output.status.success(), "{:?}: {errors}", output.status);
        Seen {
            document: String::from_utf8_lossy(&output.stdout).into_owned(),
            console: errors.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
        }
    }
}
