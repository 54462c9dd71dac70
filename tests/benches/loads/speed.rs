//! How fast rows come in.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::Command;

use database::Server;
use tempfile::TempDir;
use tests::{TestDatabase, TestServer};

use crate::peer::Peer;
use crate::program::run;
use crate::{ROUNDS, csv};

/// So many of the rows are enough to see how slow a peer is.
const OF_PEER: u64 = 10;

/// The rows of a transaction, ours and the peer's.
const CHUNK: u64 = 10_000;

pub(crate) async fn measure(rows: u64) {
    let folder = TempDir::with_prefix("seabank-loads-").expect("a folder can be made");
    // A node in memory, on these machines: it is slower, and keeps all of it.
    for (server, rows) in [(Server::Postgres, rows), (Server::Cockroach, rows / 5)] {
        match TestServer::open(server).await {
            Ok(server) => import_beside_copy(&server, folder.path(), rows).await,
            Err(reason) => println!("NOT MEASURED: {reason}"),
        }
    }
    match (TestServer::open(Server::Postgres).await, Peer::install()) {
        (Ok(server), Ok(peer)) => draws_beside_sqlalchemy(&server, &peer, rows).await,
        (Err(reason), _) => println!("NOT MEASURED: {reason}"),
        (_, Err(reason)) => println!("NOT MEASURED: SQLAlchemy cannot be installed: {reason}"),
    }
}

async fn import_beside_copy(server: &TestServer, folder: &Path, rows: u64) {
    println!("\n{rows} accounts into {}, taking turns, rows/s", name(&server.version));
    let (file, text) = csv::write(folder, rows);
    let (mut copied, mut imported) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let test = fresh(server).await;
        copied.push(rows as f64 / run(&mut copy(&test, &text)).seconds);
        let test = fresh(server).await;
        imported.push(rows as f64 / run(test.program("seabank").arg("import").arg(&file)).seconds);
    }
    show("psql \\copy", &copied);
    show("import", &imported);
    ratio("import / psql \\copy", &imported, &copied);
}

/// A database that goes with its server, which is soon.
pub(crate) async fn fresh(server: &TestServer) -> ManuallyDrop<TestDatabase> {
    ManuallyDrop::new(server.database().await)
}

/// In one transaction, but on CockroachDB, where that is not atomic.
fn copy(test: &TestDatabase, text: &Path) -> Command {
    let mut command = Command::new("psql");
    let url = test.url().replacen("cockroachdb://", "postgresql://", 1);
    let copy = format!("\\copy accounts (id, balance, opening_balance) FROM '{}'", text.display());
    command.args([&url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", &copy]);
    command
}

async fn draws_beside_sqlalchemy(server: &TestServer, peer: &Peer, rows: u64) {
    for (table, command) in [("points", "points"), ("accounts", "seed")] {
        println!("\n{rows} {table} into {}, taking turns, rows/s", name(&server.version));
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let test = fresh(server).await;
            theirs.push((rows / OF_PEER) as f64 / peer.load(test.url(), table, rows / OF_PEER, CHUNK));
            let test = fresh(server).await;
            let (rows_text, chunk) = (rows.to_string(), CHUNK.to_string());
            let arguments = [command, "--count", &rows_text, "--chunk", &chunk];
            ours.push(rows as f64 / run(test.program("seabank").args(arguments)).seconds);
        }
        show(&format!("SQLAlchemy, bulk_save_objects, {}", rows / OF_PEER), &theirs);
        show(command, &ours);
        ratio(&format!("{command} / SQLAlchemy"), &ours, &theirs);
    }
}

/// A server in a few words.
pub(crate) fn name(version: &str) -> &str {
    version.split(" (").next().unwrap_or(version)
}

fn show(name: &str, figures: &[f64]) {
    let figures: Vec<_> = figures.iter().map(|figure| format!("{figure:>9.0}")).collect();
    println!("{name:<44} {}", figures.join(" "));
}

/// The ratio of what ran in the same round: its median, and from where to where it goes.
fn ratio(name: &str, ours: &[f64], theirs: &[f64]) {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("{name:<44} {middle:>9.2} (from {least:.2} to {most:.2})");
}
