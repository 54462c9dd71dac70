//! The binaries as a user runs them: built once for the run, with nothing of the developer's own environment.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Variables of the developer that would lead a command elsewhere.
const PRIVATE: [&str; 5] = ["BANK_PASSWORD", "DATABASE_URL", "DATABASE_SCHEMA", "RUST_LOG", "RUST_BACKTRACE"];

/// A command that runs `seabank` or `migration`, in the folder of temporary files: no `.env` is found there.
///
/// # Panics
///
/// Where the binaries cannot be built.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(folder().join(program));
    command.current_dir(std::env::temp_dir());
    for variable in PRIVATE {
        command.env_remove(variable);
    }
    command
}

/// Where Cargo puts them. A test package has no binaries of its own, so Cargo has not built them with it.
pub(crate) fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // …/target/debug/deps/suite-0123456789abcdef
        let suite = std::env::current_exe().expect("the run knows its own program");
        let folder = suite.ancestors().nth(2).expect("Cargo runs it in `deps`").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        build.args(["build", "--quiet", "--bins", "-p", "app", "-p", "migration"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        // What Cargo says to this program is not for that build: with it whatever looks at these is built anew, and again by the next run.
        for (name, _) in std::env::vars_os() {
            let told = name
                .to_str()
                .is_some_and(|it| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST_"));
            if told {
                build.env_remove(name);
            }
        }
        build.env("CARGO_TARGET_DIR", folder.parent().expect("a profile is a folder in `target`"));
        let built = build.status().expect("Cargo runs");
        assert!(built.success(), "the binaries cannot be built");
        folder
    })
}
