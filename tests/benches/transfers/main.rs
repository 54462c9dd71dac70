//! Transfers beside their peers: pgbench, which sends the very same statements, and `cockroach workload run bank`.
//!
//! ```sh
//! cargo bench -p tests --bench transfers                # all of it
//! cargo bench -p tests --bench transfers -- peers       # the styles, beside pgbench and workload
//! cargo bench -p tests --bench transfers -- contention  # few accounts, with and without CockroachDB's savepoint
//! cargo bench -p tests --bench transfers -- without     # what the journal, its indexes, keys and checks cost
//! cargo bench -p tests --bench transfers -- memory      # of the program, after ten times as many transfers
//! ```
//!
//! All of them take turns in one run, on servers of its own, PostgreSQL and, where there is one, CockroachDB: read the
//! ratios. Where `TMPDIR` is in memory, the disk is left out.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod bank;
mod contention;
#[path = "../figures.rs"]
mod figures;
mod memory;
mod ours;
mod peers;
mod pgbench;
#[path = "../program.rs"]
mod program;
mod script;
mod without;
mod workload;

use std::time::Duration;

use database::Server;
use tests::TestServer;

/// How often each is measured.
const ROUNDS: usize = 4;

/// For how long.
const TIME: Duration = Duration::from_secs(4);

/// Between how many accounts, where nothing else is said.
const ACCOUNTS: u64 = 1000;

#[tokio::main]
async fn main() {
    // Cargo adds a flag of its own.
    let sections: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let known = ["peers", "contention", "without", "memory"];
    if let Some(other) = sections.iter().find(|it| !known.contains(&it.as_str())) {
        println!("NOT MEASURED: {other} is none of {}", known.join(", "));
        return;
    }
    let is_asked_for = |name: &str| sections.is_empty() || sections.iter().any(|it| it == name);
    for server in [Server::Postgres, Server::Cockroach] {
        for section in known.into_iter().filter(|it| is_asked_for(it)) {
            // A new one each time: what one section has written is not the next one's burden.
            let server = match TestServer::open(server).await {
                Ok(server) => server,
                Err(reason) => {
                    println!("NOT MEASURED: {section}: {reason}");
                    continue;
                }
            };
            println!("\n{section}: {}", figures::name(&server.version));
            match section {
                "peers" => peers::measure(&server).await,
                "contention" => contention::measure(&server).await,
                "without" => without::measure(&server).await,
                _ => memory::measure(&server).await,
            }
        }
    }
}
