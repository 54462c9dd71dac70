//! Transfers beside their peers: pgbench, which sends the very same statements, and `cockroach workload run bank`.
//!
//! ```sh
//! cargo bench -p tests --bench transfers                # all of it
//! cargo bench -p tests --bench transfers -- peers       # the styles, beside pgbench and workload
//! cargo bench -p tests --bench transfers -- payments    # many in one transaction, beside `single`, pgbench and workload
//! cargo bench -p tests --bench transfers -- contention  # few accounts, with and without CockroachDB's savepoint
//! cargo bench -p tests --bench transfers -- without     # what the journal, its indexes, keys and checks cost
//! cargo bench -p tests --bench transfers -- memory      # of the program, after ten times as many transfers
//! cargo bench -p tests --bench transfers -- peers postgres      # on one server only, postgres or cockroachdb
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

/// How often each is measured.
const ROUNDS: usize = 3;

/// For how long.
const TIME: Duration = Duration::from_secs(4);

/// Between how many accounts, where nothing else is said.
const ACCOUNTS: u64 = 1000;

const SECTIONS: [&str; 5] = ["peers", "payments", "contention", "without", "memory"];

const SERVERS: [(&str, Server); 2] = [("postgres", Server::Postgres), ("cockroachdb", Server::Cockroach)];

#[tokio::main]
async fn main() {
    // Cargo adds a flag of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let known = |word: &String| SECTIONS.contains(&word.as_str()) || SERVERS.iter().any(|it| it.0 == word);
    if let Some(other) = words.iter().find(|it| !known(it)) {
        println!("NOT MEASURED: {other} is none of {}, postgres, cockroachdb", SECTIONS.join(", "));
        return;
    }
    // All where none is named.
    let named = |name: &str| words.iter().any(|it| it == name);
    let (sections, servers) = (SECTIONS.iter().any(|it| named(it)), SERVERS.iter().any(|it| named(it.0)));
    for (_, server) in SERVERS.into_iter().filter(|it| !servers || named(it.0)) {
        for section in SECTIONS.into_iter().filter(|it| !sections || named(it)) {
            // New ones each time: what one section has written is not the next one's burden.
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
