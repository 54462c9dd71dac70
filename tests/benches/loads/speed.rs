//! Rows per second.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::Command;

use database::Server;
use tempfile::TempDir;
use tests::{TestDatabase, TestServer};

use crate::figures::{name, ratio, show};
use crate::peer::Peer;
use crate::program::run;
use crate::{ROUNDS, csv, started};

/// The peer is slow: a tenth of the rows is enough.
const OF_PEER: u64 = 10;

/// Rows per transaction, for both.
const CHUNK: u64 = 10_000;

pub(crate) async fn measure(rows: u64) {
    let folder = TempDir::with_prefix("seabank-loads-").expect("a folder can be made");
    // A CockroachDB in memory on one machine gets fewer rows.
    for (server, rows) in [(Server::Postgres, rows), (Server::Cockroach, rows / 5)] {
        let measure = async |server| import_beside_copy(&server, folder.path(), rows).await;
        started::each(server, "import", measure).await;
    }
    match Peer::install() {
        Ok(peer) => {
            let measure = async |server| draws_beside_sqlalchemy(&server, &peer, rows).await;
            started::each(Server::Postgres, "seed and points", measure).await;
        }
        Err(reason) => println!("NOT MEASURED: SQLAlchemy cannot be installed: {reason}"),
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

/// Not dropped: its server ends soon.
pub(crate) async fn fresh(server: &TestServer) -> ManuallyDrop<TestDatabase> {
    ManuallyDrop::new(server.database().await)
}

/// COPY is not atomic on CockroachDB.
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
