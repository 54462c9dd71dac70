//! Input files, and the answers of `import` and `pay`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use tests::TestDatabase;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("seabank-import-").expect("the folder is created"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).expect("the file is written");
        self.path(name)
    }
}

pub(crate) fn import(test: &TestDatabase, file: &Path, more: &[&str]) -> (Output, Value) {
    with_file(test, "import", file, more)
}

pub(crate) fn pay(test: &TestDatabase, file: &Path, more: &[&str]) -> (Output, Value) {
    with_file(test, "pay", file, more)
}

fn with_file(test: &TestDatabase, command: &str, file: &Path, more: &[&str]) -> (Output, Value) {
    let output = test
        .seabank()
        .arg(command)
        .arg(file)
        .args(more)
        .args(["--format", "json"])
        .output()
        .expect("the command runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, answer)
}

pub(crate) fn count(answer: &Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap_or_else(|| panic!("{key} in {answer}"))
}

/// `balance` is ten times `id`.
pub(crate) fn accounts(count: u64) -> String {
    (1..=count).fold("id,balance\n".to_owned(), |text, id| text + &format!("{id},{}\n", id * 10))
}
