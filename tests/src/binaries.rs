//! The binaries, built once per run, without the developer's environment.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Variables that would redirect a command. The driver's variables all start with `PG`.
const PRIVATE: [&str; 5] = ["BANK_PASSWORD", "DATABASE_URL", "DATABASE_SCHEMA", "RUST_LOG", "RUST_BACKTRACE"];
const OF_DRIVER: &str = "PG";

/// A command for `seabank` or `migration`, in the folder of temporary files, which has no `.env`.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(folder().join(program));
    command.current_dir(std::env::temp_dir());
    let of_driver = std::env::vars_os().map(|(name, _)| name);
    let of_driver = of_driver.filter(|name| name.to_string_lossy().starts_with(OF_DRIVER));
    for variable in PRIVATE.into_iter().map(Into::into).chain(of_driver) {
        command.env_remove(variable);
    }
    command
}

/// A test package has no binaries of its own, so Cargo has not built them.
pub(crate) fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // …/target/debug/deps/suite-0123456789abcdef
        let suite = std::env::current_exe().expect("the run knows its own program");
        let folder = suite.ancestors().nth(2).expect("Cargo runs it in `deps`").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        // Cargo's variables of this package would trigger build scripts, such as ring's, and
        // rebuild everything that depends on them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        build.args(["build", "--quiet", "--bins", "-p", "app", "-p", "migration"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", folder.parent().expect("a profile is a folder in `target`"));
        let built = build.status().expect("Cargo runs");
        assert!(built.success(), "the binaries cannot be built");
        folder
    })
}
