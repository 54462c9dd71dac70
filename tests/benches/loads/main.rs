//! Bulk loads compared with `psql \copy` and the tutorial's SQLAlchemy ([`peer.py`](peer.py)).
//!
//! ```sh
//! cargo bench -p tests --bench loads                  # speed
//! cargo bench -p tests --bench loads -- size 10000000 # memory and transfer time with this many
//! rows
//! ```
//!
//! The programs alternate in one run: read the ratios.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod csv;
#[path = "../figures.rs"]
mod figures;
mod peer;
#[path = "../program.rs"]
mod program;
mod size;
mod speed;
#[path = "../started.rs"]
mod started;

const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    // Cargo adds a flag.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let rows = |n: usize, usual| arguments.get(n).map_or(usual, |it| it.parse().expect("a number of rows"));
    match arguments.first().map(String::as_str) {
        Some("size") => size::measure(rows(1, 10_000_000)).await,
        Some("speed") => speed::measure(rows(1, 1_000_000)).await,
        None => speed::measure(1_000_000).await,
        Some(other) => println!("NOT MEASURED: {other} is neither speed nor size"),
    }
}
