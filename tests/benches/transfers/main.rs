//! Transfers compared with pgbench, which sends the same statements, and `cockroach workload run
//! bank`.
//!
//! ```sh
//! cargo bench -p tests --bench transfers                # all sections
//! cargo bench -p tests --bench transfers -- peers       # each style, pgbench and workload
//! cargo bench -p tests --bench transfers -- payments    # many per transaction
//! cargo bench -p tests --bench transfers -- contention  # few accounts
//! cargo bench -p tests --bench transfers -- without     # the cost of the journal, indexes, keys
//! and checks
//! cargo bench -p tests --bench transfers -- memory      # after ten times as many transfers
//! cargo bench -p tests --bench transfers -- peers postgres      # on one server, postgres or
//! cockroachdb
//! ```
//!
//! The programs alternate in one run: read the ratios. A `TMPDIR` in memory excludes the disk.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod bank;
mod contention;
#[path = "../figures.rs"]
mod figures;
mod memory;
mod ours;
mod payments;
mod peers;
mod pgbench;
#[path = "../program.rs"]
mod program;
mod script;
#[path = "../started.rs"]
mod started;
mod without;
mod workload;

use std::time::Duration;

use database::Server;

const ROUNDS: usize = 3;

/// For how long.
const TIME: Duration = Duration::from_secs(4);

/// The default number of accounts.
const ACCOUNTS: u64 = 1000;

const SECTIONS: [&str; 5] = ["peers", "payments", "contention", "without", "memory"];

const SERVERS: [(&str, Server); 2] = [("postgres", Server::Postgres), ("cockroachdb", Server::Cockroach)];

#[tokio::main]
async fn main() {
    // Cargo adds a flag.
    let words: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let known = |word: &String| SECTIONS.contains(&word.as_str()) || SERVERS.iter().any(|it| it.0 == word);
    if let Some(other) = words.iter().find(|it| !known(it)) {
        println!("NOT MEASURED: {other} is none of {}, postgres, cockroachdb", SECTIONS.join(", "));
        return;
    }
    // All sections by default.
    let named = |name: &str| words.iter().any(|it| it == name);
    let (sections, servers) = (SECTIONS.iter().any(|it| named(it)), SERVERS.iter().any(|it| named(it.0)));
    for (_, server) in SERVERS.into_iter().filter(|it| !servers || named(it.0)) {
        for section in SECTIONS.into_iter().filter(|it| !sections || named(it)) {
            // A section's rows must not slow the next one.
            started::each(server, section, async |server| {
                println!("\n{section}: {}", figures::name(&server.version));
                match section {
                    "peers" => peers::measure(&server).await,
                    "payments" => payments::measure(&server).await,
                    "contention" => contention::measure(&server).await,
                    "without" => without::measure(&server).await,
                    _ => memory::measure(&server).await,
                }
            })
            .await;
        }
    }
}
