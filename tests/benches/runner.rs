//! The overhead of the runner over SeaORM's transaction and over three bare statements, in round
//! trips and CPU time. `cargo bench -p tests --bench runner`
//!
//! The server's CPU time is that of all of the postmaster's children, from `/proc/<pid>/schedstat`.
//! A proxy delays each answer to show the round trips. The three alternate: read the ratios and
//! differences.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs;
use std::time::{Duration, Instant};

use database::{Address, Database, Options, Server, connect};
use rustix::time::{ClockId, clock_gettime};
use sea_orm::sqlx::Executor;
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use sea_orm_retry::{Policy, Runner};
use tests::{Postgres, Proxy};

const ROUNDS: usize = 300;
const CPU_ROUNDS: u32 = 40;
const CPU_EACH: u32 = 200;
const UPDATE: &str = "UPDATE counter SET n = n + 1 WHERE id = 1";

#[tokio::main]
async fn main() {
    let Some(programs) = Postgres::find() else {
        println!("NOT MEASURED: PostgreSQL is not installed");
        return;
    };
    let server = Postgres::start(&programs).await.expect("PostgreSQL starts");
    let url = server.url("postgres");
    let direct = open(&url).await;
    let create =
        "CREATE TABLE counter (id INT8 PRIMARY KEY, n INT8 NOT NULL); INSERT INTO counter VALUES (1, 0)";
    direct.connection.execute_unprepared(create).await.expect("the table can be made");

    let delay = Duration::from_millis(5);
    let address = url::Url::parse(&url).expect("its own URL").socket_addrs(|| None).expect("an address")[0];
    let proxy = Proxy::delaying(address, delay).await.expect("a port is free");
    let far = open(&proxy.url(&url)).await;

    println!("one UPDATE in a transaction, {}, median of {ROUNDS}, taking turns", server_name(&direct));
    println!("{:<44} {:>10} {:>22}", "", "directly", "answers held back 5 ms");
    let near = measure(&direct).await;
    let held_back = measure(&far).await;
    for (n, name) in ["BEGIN, UPDATE, COMMIT sent bare", "SeaORM's transaction()", "sea_orm_retry::Runner"]
        .iter()
        .enumerate()
    {
        let round_trips = held_back[n].as_secs_f64() / delay.as_secs_f64();
        println!(
            "{name:<44} {:>7} µs {:>8} µs, {round_trips:.2} × 5 ms",
            near[n].as_micros(),
            held_back[n].as_micros()
        );
    }
    for (n, peer) in ["sent bare", "SeaORM's"].iter().enumerate() {
        let ratio = |times: &[Duration; 3]| times[2].as_secs_f64() / times[n].as_secs_f64();
        println!("runner / {peer:<35} {:>10.2} {:>22.3}", ratio(&near), ratio(&held_back));
    }
    std::thread::spawn(move || processor_time(&url)).join().expect("it ends");
}

/// Both sides' CPU time per transaction.
fn processor_time(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let times = runtime.block_on(async {
        let database = open(url).await;
        let postmaster = postmaster(&database).await;
        let runner = Runner::new(&database.connection, Policy::default());
        let no_orphans = runner.under(Policy { end_orphans: false, ..Policy::default() });
        let worker = runner.worker();
        let mut times = [const { Vec::new() }; 5];
        for _ in 0..CPU_ROUNDS {
            for (n, times) in times.iter_mut().enumerate() {
                let server = server_time(postmaster);
                let started = thread_time();
                for _ in 0..CPU_EACH {
                    match n {
                        0 => bare(&database).await,
                        1 => sea_orm_transaction(&database).await,
                        2 => ours(&runner).await,
                        3 => ours(&no_orphans).await,
                        _ => ours(&worker).await,
                    }
                }
                let client = (thread_time() - started) / f64::from(CPU_EACH);
                let server = server_time(postmaster).zip(server);
                let server = server.map(|(after, before)| (after - before) / f64::from(CPU_EACH));
                times.push((client, server.unwrap_or(f64::NAN)));
            }
        }
        times
    });
    println!("\nprocessor time in µs a transaction, median of {CPU_ROUNDS} × {CPU_EACH}, taking turns");
    println!("{:<34} {:>16} {:>24}", "", "client (- SeaORM)", "server (- SeaORM)");
    let names =
        ["sent bare", "SeaORM's transaction()", "sea_orm_retry::Runner", "without end_orphans", "its worker"];
    let median = |mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let medians = times.map(|times| {
        let (client, server) = times.into_iter().unzip();
        (median(client), median(server))
    });
    for (name, (client, server)) in names.iter().zip(medians) {
        let (client_more, server_more) = (client - medians[1].0, server - medians[1].1);
        println!("{name:<34} {client:>8.1} ({client_more:>+6.1}) {server:>15.1} ({server_more:>+6.1})");
    }
}

/// The parent of a connection's server process.
async fn postmaster(database: &Database) -> u32 {
    let backend = "SELECT pg_backend_pid()";
    let pool = database.connection.get_postgres_connection_pool();
    let pid: i32 = sea_orm::sqlx::query_scalar(backend).fetch_one(pool).await.expect(backend);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may contain blanks: the state, the parent.
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    parent.unwrap_or_default()
}

/// This thread's CPU time, in µs.
#[expect(clippy::cast_precision_loss, reason = "a thread's seconds are few")]
fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// The CPU time of the postmaster's children, in µs.
fn server_time(postmaster: u32) -> Option<f64> {
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).ok()?;
    let nanoseconds = |pid: &str| -> Option<f64> {
        fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    Some(children.split_whitespace().filter_map(nanoseconds).sum::<f64>() / 1e3)
}

async fn open(url: &str) -> Database {
    let address = Address::parse(url).expect("a good URL");
    connect(&address, &Options { max_connections: 2, ..Options::default() }).await.expect("it answers")
}

fn server_name(database: &Database) -> String {
    let version = database.version.split([',', '(']).next().unwrap_or_default();
    assert_eq!(database.server, Server::Postgres);
    version.trim().to_owned()
}

/// The medians: bare, SeaORM's, the runner's.
async fn measure(database: &Database) -> [Duration; 3] {
    let runner = Runner::new(&database.connection, Policy::default());
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (n, times) in times.iter_mut().enumerate() {
            let started = Instant::now();
            match n {
                0 => bare(database).await,
                1 => sea_orm_transaction(database).await,
                _ => ours(&runner).await,
            }
            times.push(started.elapsed());
            // Lets the pool's ping on release finish.
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

async fn bare(database: &Database) {
    let pool = database.connection.get_postgres_connection_pool();
    let mut connection = pool.acquire().await.expect("a connection");
    for sql in ["BEGIN", UPDATE, "COMMIT"] {
        // Not prepared: one round trip each.
        connection.execute(sql).await.expect(sql);
    }
}

#[expect(clippy::disallowed_methods, reason = "the peer")]
async fn sea_orm_transaction(database: &Database) {
    database
        .connection
        .transaction::<_, (), DbErr>(|tx| {
            Box::pin(async move { tx.execute_unprepared(UPDATE).await.map(drop) })
        })
        .await
        .expect("applied");
}

async fn ours(runner: &Runner) {
    let counted: Result<(), DbErr> =
        runner.run("count", async |tx| tx.execute_unprepared(UPDATE).await.map(drop)).await;
    counted.expect("applied");
}
