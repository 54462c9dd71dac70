//! The house: who depends on whom, and documents whose links lead somewhere. No server is asked.

use std::path::{Path, PathBuf};
use std::process::Command;

use database::Server;
use serde_json::Value;
use tests::{Test, TestServer, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        packages_depend_only_downwards on &[Server::Sqlite],
        links_in_the_documents_lead_somewhere on &[Server::Sqlite],
    ]
}

/// The picture of docs/architecture.md: each package, and the packages of the workspace that it may depend on.
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

async fn packages_depend_only_downwards(_: &TestServer) {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |it: &Value| it["name"].as_str().expect("a name").to_owned();
    let members: Vec<String> = packages.iter().map(name).collect();
    assert_eq!(members.len(), MAY_DEPEND_ON.len(), "docs/architecture.md shows every package: {members:?}");
    for package in packages {
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

/// The targets of `[text](target)` in a document, without code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

async fn links_in_the_documents_lead_somewhere(_: &TestServer) {
    let documents = std::fs::read_dir(root().join("docs")).expect("docs is there");
    let documents = documents.map(|entry| entry.expect("a file").path());
    let top = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let mut followed = 0;
    for document in documents.chain(top) {
        let text = std::fs::read_to_string(&document).expect("it can be read");
        let folder = document.parent().expect("it is in a folder");
        for target in links(&text).into_iter().filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            let there = file.is_empty() || folder.join(file).exists();
            assert!(there, "{} links to {target}, which is not there", document.display());
            followed += 1;
        }
    }
    assert!(followed > 50, "only {followed} links were found: are they written in another way?");
}
