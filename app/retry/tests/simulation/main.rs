//! The real runner against a simulated server, in simulated time.
//!
//! Verified for each transaction of each seed (the README's guarantees):
//!
//! 1. A transfer id is applied at most once, whatever fails and however often it is retried.
//! 2. A transaction that is reported applied is in the database. One that is reported failed was
//!    not applied by this run and never will be, not even by late requests. A body without an id is
//!    never retried after an ambiguous commit.
//! 3. No snapshot sees balances that do not add up, or a negative balance.
//!
//! Also verified: the runner sends nothing after the first error, holds no lock during a pause, and
//! returns no connection that is broken or in a transaction.
//!
//! `SIMULATION_TRANSACTIONS` is the number of transactions (1 000 000), `SIMULATION_SEED` the first
//! world's seed (random, and printed). A world depends only on its seed; a failure prints it.
#![expect(clippy::print_stdout, reason = "the seed and the figures are printed")]
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "nested transactions of a Tx are savepoints")]

mod bodies;
mod client;
#[path = "../common/counter.rs"]
mod counter;
mod directed;
mod error;
mod fate;
#[path = "../common/lines.rs"]
mod lines;
mod request;
mod server;
mod small;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm_retry::Server;
use sea_orm_retry::{Policy, Runner};

use client::{Order, Reported, check, client};
use server::State;
use wire::World;

const CLIENTS: u64 = 3;
const EACH: u64 = 20;

/// Counts by body and outcome.
type Tally = BTreeMap<String, u64>;

#[test]
fn no_seed_breaks_a_guarantee() {
    let transactions: u64 = from_environment("SIMULATION_TRANSACTIONS").unwrap_or(1_000_000);
    let first: u64 = from_environment("SIMULATION_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let worlds = transactions.div_ceil(CLIENTS * EACH);
    println!("{worlds} worlds from SIMULATION_SEED={first}");
    let (next, broken, tally) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Tally::new()));
    let failure = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism().map_or(2, usize::from))
            .map(|_| {
                scope.spawn(|| {
                    while !broken.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= worlds {
                            break;
                        }
                        let seed = first.wrapping_add(number);
                        match simulate(seed) {
                            Ok(told) => add(&mut tally.lock().expect("no panic"), told),
                            Err(violations) => {
                                broken.store(true, Ordering::Relaxed);
                                return Some(format!(
                                    "repeat it by SIMULATION_SEED={seed} SIMULATION_TRANSACTIONS=1: {violations}"
                                ));
                            }
                        }
                    }
                    None
                })
            })
            .collect();
        threads.into_iter().find_map(|thread| thread.join().expect("no panic"))
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    let tally = tally.into_inner().expect("no panic");
    println!("{} transactions: {tally:?}", tally.values().sum::<u64>());
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..20 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

/// Runs until all late requests have arrived.
fn simulate(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let kind =
            [Server::Postgres, Server::Cockroach, Server::Cockroach, Server::Sqlite][rng.random_range(0..4)];
        let trouble = [0, 10, 60, 200, 400][rng.random_range(0..5)];
        let world = World::new(kind, rng.random(), trouble);
        let runner = Runner::on(world.clone(), policy(&mut rng, kind)).with_jitter_seed(rng.random());
        let keep = rng.random::<bool>();
        if kind == Server::Postgres && rng.random::<bool>() {
            let back =
                [None, Some(Duration::from_millis(rng.random_range(0..5_000)))][rng.random_range(0..2)];
            world.lose_standby(Duration::from_millis(rng.random_range(0..3_000)), back);
        }
        let own = |_| if keep { runner.worker() } else { runner.clone() };
        let runners: Vec<Runner> = (0..CLIENTS).map(own).collect();
        let clients = (0..).zip(&runners).map(|(number, runner)| client(&world, runner, seed, number, EACH));
        let told: Vec<(Order, Reported)> = join_all(clients).await.into_iter().flatten().collect();
        drop(runners);
        tokio::time::sleep(Duration::from_secs(300)).await;
        world.lock().see_standby();
        world.lock().store.fail_over();
        for (order, told) in &told {
            check(&world, *order, *told);
        }
        let store = &mut world.lock().store;
        for (who, backend) in store.backends.iter().enumerate() {
            if !matches!(backend.state, State::Idle | State::Ended) {
                store.violations.push(format!("session {who} is still {:?}", backend.state));
            }
        }
        if !store.violations.is_empty() {
            return Err(format!("{kind}, trouble {trouble}: {}", store.violations.join("; ")));
        }
        let mut tally = Tally::new();
        for (order, told) in told {
            *tally.entry(format!("{:?} {told:?}", order.kind)).or_default() += 1;
        }
        Ok(tally)
    })
}

fn policy(rng: &mut ChaCha8Rng, kind: Server) -> Policy {
    let savepoint = kind == Server::Cockroach && rng.random::<bool>();
    Policy {
        attempts_max: rng.random_range(1..=8),
        total_time: Duration::from_secs(rng.random_range(1..=10)),
        answer_deadline: Duration::from_millis(rng.random_range(100..=2_000)),
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(50),
        end_orphans: rng.random::<bool>(),
        turn_after: rng.random_range(1..=8),
        savepoint_restarts: savepoint.then(|| rng.random_range(0..=3)),
        ..Policy::default()
    }
}

fn add(sum: &mut Tally, more: Tally) {
    for (key, count) in more {
        *sum.entry(key).or_default() += count;
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text}")))
}
