//! Dependencies between packages, and links of the documents.

use std::path::{Path, PathBuf};
use std::process::Command;

use database::Server;
use serde_json::Value;
use tests::{Test, TestServer, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        packages_depend_only_downwards on &[Server::Sqlite],
        every_dependency_is_used on &[Server::Sqlite],
        every_shared_dependency_is_explained_and_used on &[Server::Sqlite],
        links_in_the_documents_have_targets on &[Server::Sqlite],
    ]
}

/// As drawn in docs/architecture.md.
const MAY_DEPEND_ON: [(&str, &[&str]); 7] = [
    ("sea-orm-retry", &[]),
    ("entity", &[]),
    ("database", &["sea-orm-retry"]),
    ("terminal", &["database"]),
    ("migration", &["database", "terminal"]),
    ("app", &["database", "entity", "migration", "sea-orm-retry", "terminal"]),
    ("tests", &["app", "database", "entity", "migration", "sea-orm-retry", "terminal"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the workspace").to_path_buf()
}

fn packages() -> Vec<Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

fn name(it: &Value) -> String {
    it["name"].as_str().expect("a name").to_owned()
}

async fn packages_depend_only_downwards(_: &TestServer) {
    let packages = packages();
    let members: Vec<String> = packages.iter().map(name).collect();
    assert_eq!(members.len(), MAY_DEPEND_ON.len(), "docs/architecture.md shows every package: {members:?}");
    for package in &packages {
        let (_, allowed) = MAY_DEPEND_ON
            .iter()
            .find(|(it, _)| *it == name(package))
            .unwrap_or_else(|| panic!("{} is not in docs/architecture.md", name(package)));
        for dependency in package["dependencies"].as_array().expect("a list").iter().map(name) {
            let known = !members.contains(&dependency) || allowed.contains(&dependency.as_str());
            assert!(known, "{} must not depend on {dependency}: docs/architecture.md", name(package));
        }
    }
}

/// For their features only: see the manifest.
const UNUSED: [(&str, &[&str]); 1] = [("database", &["bitflags", "futures-sink", "uuid"])];

/// The same check as `cargo machete`, which takes two minutes to install.
async fn every_dependency_is_used(_: &TestServer) {
    for package in packages() {
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        let mut code = String::new();
        append_code(manifest.parent().expect("a folder"), &mut code);
        let allowed = UNUSED.iter().find(|(it, _)| *it == name(&package)).map_or(&[][..], |(_, it)| it);
        for dependency in package["dependencies"].as_array().expect("a list") {
            let written = dependency["rename"].as_str().map_or_else(|| name(dependency), str::to_owned);
            let used = names_crate(&code, &written.replace('-', "_"));
            let expected = !allowed.contains(&written.as_str());
            assert_eq!(used, expected, "{} uses its dependency {written}", name(&package));
        }
    }
}

fn append_code(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.join("Cargo.toml").exists() {
            append_code(&path, code);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                code.push_str(line);
                code.push('\n');
            }
        }
    }
}

fn names_crate(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        // `::entity` is the crate, `bank::entity` is not.
        let before = before.strip_suffix("::").unwrap_or(before);
        let imported = before.ends_with("use ") && after.starts_with([';', ' ']);
        !before.ends_with(is_word) && (after.starts_with("::") || imported)
    })
}

async fn every_shared_dependency_is_explained_and_used(_: &TestServer) {
    let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
    let manifests: String =
        packages().iter().map(|it| read(Path::new(it["manifest_path"].as_str().expect("a path")))).collect();
    let workspace = read(&root().join("Cargo.toml"));
    let (_, rest) = workspace.split_once("[workspace.dependencies]\n").expect("the table");
    let (table, _) = rest.split_once("\n[").expect("a table behind it");
    let mut above = "";
    for line in table.lines() {
        if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with([' ', '#', '}'])) {
            assert!(line.contains(" # ") || above.starts_with("# "), "Cargo.toml: what is {name} for?");
            let inherited = [format!("\n{name}.workspace = true"), format!("\n{name} = {{ workspace = true")];
            assert!(inherited.iter().any(|it| manifests.contains(it)), "Cargo.toml: {name} is unused");
        }
        above = line;
    }
}

/// The targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

async fn links_in_the_documents_have_targets(_: &TestServer) {
    let documents = std::fs::read_dir(root().join("docs")).expect("docs is there");
    let documents = documents.map(|entry| entry.expect("a file").path());
    let top = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let mut followed = 0;
    for document in documents.chain(top) {
        let text = std::fs::read_to_string(&document).expect("readable");
        let folder = document.parent().expect("it is in a folder");
        for target in links(&text).into_iter().filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            let there = file.is_empty() || folder.join(file).exists();
            assert!(there, "{} links to {target}, which is not there", document.display());
            followed += 1;
        }
    }
    assert!(followed > 50, "only {followed} links were found: has their format changed?");
}
