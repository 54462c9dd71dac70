//! The entities equal the generator's output.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use database::Server;
use sea_orm_cli::{Cli, Commands};
use tempfile::TempDir;
use tests::{Test, TestServer, tests};

/// Servers differ only in the type of generated ids.
pub(crate) fn tests() -> Vec<Test> {
    tests![
        entities_equal_the_output_of_the_generator on &[Server::Sqlite, Server::Postgres],
        a_difference_is_reported on &[Server::Sqlite],
    ]
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../entity/src")
}

/// `REGENERATE=1 cargo test -p tests entities` writes the entities, from SQLite.
async fn entities_equal_the_output_of_the_generator(server: &TestServer) {
    let written = generate(server).await;
    if std::env::var_os("REGENERATE").is_some() && server.server == Server::Sqlite {
        for (name, text) in &written {
            fs::write(committed().join(name), text).expect("the entities can be written");
        }
    }
    if let Some(difference) = difference(&read(&committed()), &written) {
        panic!("{difference}\nto write them anew: REGENERATE=1 cargo test -p tests entities");
    }
}

async fn a_difference_is_reported(server: &TestServer) {
    let written = generate(server).await;
    let mut edited = written.clone();
    edited.get_mut("accounts.rs").expect("there are accounts").push_str("// by hand\n");
    assert_eq!(
        difference(&edited, &written).as_deref(),
        Some("accounts.rs, line 19: \"// by hand\" is not \"\"")
    );
    let mut fewer = written.clone();
    fewer.remove("points.rs");
    assert_eq!(difference(&fewer, &written).as_deref(), Some("points.rs is in one of them only"));
}

async fn generate(server: &TestServer) -> BTreeMap<String, String> {
    let test = server.database_without_foreign_keys().await;
    let folder = TempDir::with_prefix("seabank-entities-").expect("the folder is created");
    // It formats by the rustfmt.toml above the folder.
    let format = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rustfmt.toml");
    fs::copy(format, folder.path().join("rustfmt.toml")).expect("the format can be copied");
    let output = folder.path().join("src");
    let arguments = [
        "sea-orm-cli",
        "generate",
        "entity",
        "--lib",
        "--date-time-crate",
        "time",
        "--ignore-tables",
        "seaql_migrations,seaql_migrations_lock",
        "--database-url",
        test.url(),
        "--output-dir",
    ];
    let arguments = arguments.into_iter().map(Into::into).chain([output.clone().into_os_string()]);
    let Commands::Generate { command } = Cli::try_parse_from(arguments).expect("its own arguments").command
    else {
        unreachable!("generate was asked for")
    };
    sea_orm_cli::run_generate_command(command, false).await.expect("it can be generated");
    read(&output)
}

fn read(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).expect("the folder can be read");
    files
        .map(|file| {
            let file = file.expect("the folder can be read");
            let text = fs::read_to_string(file.path()).expect("the file can be read");
            (file.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn difference(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Option<String> {
    for name in one.keys().chain(other.keys()) {
        let (Some(one), Some(other)) = (one.get(name), other.get(name)) else {
            return Some(format!("{name} is in one of them only"));
        };
        if one == other {
            continue;
        }
        let line = |text: &str, n: usize| text.lines().nth(n).unwrap_or_default().to_owned();
        let n = (0..).find(|n| line(one, *n) != line(other, *n) || one.lines().count() < *n)?;
        return Some(format!("{name}, line {}: {:?} is not {:?}", n + 1, line(one, n), line(other, n)));
    }
    None
}
