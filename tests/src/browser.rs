//! A browser without a window, for pages that are files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::in_path;

/// Names of Chromium in PATH.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Chromium, headless, with a new profile for each page, and none of its own traffic.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    // Pages of one folder may look into each other.
    "--allow-file-access-from-files",
    // In milliseconds: it gives up then.
    "--timeout=60000",
    // What pages say goes to standard error.
    "--enable-logging=stderr",
];

/// A browser that is installed.
#[derive(Clone, Debug)]
pub struct Browser(PathBuf);

/// What became of a page.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The document as it stood once it was loaded and its scripts had run.
    pub document: String,
    /// What it said to the console: errors, and whatever was refused.
    pub console: Vec<String>,
}

impl Browser {
    /// How it is had where it is missing.
    pub(crate) const REMEDY: &str = "install chromium";

    /// The first that is in PATH.
    #[must_use]
    pub fn find() -> Option<Self> {
        NAMES.into_iter().find_map(in_path).map(Self)
    }

    /// Opens a page and looks at it once it is loaded.
    ///
    /// # Panics
    ///
    /// Where the browser cannot be run to its end.
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
