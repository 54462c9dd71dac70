//! Many transfers per transaction compared with `single`, pgbench and `workload run bank`; CPU
//! time; a file's memory.

use std::fs;
use std::io::{BufWriter, Write};

use database::Server;
use seabank::bank::transfer::Style;
use tempfile::TempDir;
use tests::{TestDatabase, TestServer};

use crate::bank::bank;
use crate::figures::{ratio, show};
use crate::ours::Run;
use crate::pgbench::Protocol::Prepared;
use crate::program::run;
use crate::workload::Workload;
use crate::{ACCOUNTS, ROUNDS, pgbench, script};

/// Batch sizes and concurrency.
const BATCHES: [(u32, u32); 4] = [(100, 4), (1000, 1), (1000, 4), (5000, 2)];

/// Enough transfers for a few seconds.
fn costed(server: Server) -> u64 {
    if server == Server::Cockroach { 2000 } else { 20_000 }
}

/// The lines of the files for the memory.
const LINES: [u64; 2] = [100_000, 1_000_000];

pub(crate) async fn measure(server: &TestServer) {
    let test = bank(server, ACCOUNTS).await;
    let clients: &[u32] = if server.server == Server::Cockroach { &[16] } else { &[8, 16] };
    let workload = (server.server == Server::Cockroach).then(|| Workload::init(server, &test));
    if let Some(Err(reason)) = &workload {
        println!("NOT MEASURED: workload run bank: {reason}");
    }
    speed(&test, clients, workload.and_then(Result::ok).as_ref()).await;
    hot(&test);
    cost(&test);
    if server.server == Server::Postgres {
        memory(&test);
    }
}

async fn speed(test: &TestDatabase, clients: &[u32], workload: Option<&Workload>) {
    let single = script::of(test, Style::Single, ACCOUNTS).await;
    let accounts = ACCOUNTS.to_string();
    println!("\ntransfers/s between {ACCOUNTS} accounts, taking turns; the best of each");
    let mut figures = [const { Vec::new() }; 4];
    let mut batches = [const { Vec::new() }; BATCHES.len()];
    let best = |figures: &mut dyn Iterator<Item = f64>| figures.fold(0.0, f64::max);
    for _ in 0..ROUNDS {
        let ours =
            |clients| Run::of(test, clients, &["--accounts", &accounts, "--style", "single"]).per_second();
        figures[0].push(best(&mut clients.iter().map(|clients| ours(*clients))));
        figures[1].push(best(&mut clients.iter().map(|it| pgbench::run(test, &single, *it, Prepared))));
        if let Some(workload) = workload {
            figures[2].push(workload.measure(16).unwrap_or_else(|reason| panic!("{reason}")));
        }
        for ((size, clients), batch) in BATCHES.iter().zip(&mut batches) {
            let size = size.to_string();
            batch.push(Run::of(test, *clients, &["--accounts", &accounts, "--chunk", &size]).per_second());
        }
        figures[3].push(best(&mut batches.iter().filter_map(|batch| batch.last().copied())));
    }
    for (name, figures) in
        ["single", "pgbench, single's statement, prepared", "workload run bank"].iter().zip(&figures)
    {
        if !figures.is_empty() {
            show(name, figures);
        }
    }
    for ((size, clients), batch) in BATCHES.iter().zip(&batches) {
        show(&format!("batches of {size}, {clients} at once"), batch);
    }
    let [single, pgbench, run_bank, batch] = &figures;
    ratio("batch / single", batch, single);
    ratio("batch / pgbench", batch, pgbench);
    if !run_bank.is_empty() {
        ratio("batch / workload run bank", batch, run_bank);
    }
}

/// Nine of ten transfers are between ten accounts.
fn hot(test: &TestDatabase) {
    println!("\ntransfers/s, --hot 10, batches of 1000; retries a batch");
    for clients in [1, 4, 16] {
        let runs: Vec<Run> =
            (0..ROUNDS).map(|_| Run::of(test, clients, &["--chunk", "1000", "--hot", "10"])).collect();
        let retries = runs.iter().map(|run| run.retries_each() * 1000.0).sum::<f64>() / runs.len() as f64;
        let per_second: Vec<f64> = runs.iter().map(Run::per_second).collect();
        show(&format!("{clients} at once ({retries:.2})"), &per_second);
    }
}

/// This program's CPU time per transfer.
fn cost(test: &TestDatabase) {
    let transfers = costed(test.server);
    println!("\nthe program's processor time, microseconds a transfer");
    let of = |more: &[&str]| {
        let mut command = test.program("seabank");
        command.args(["workload", "--quiet", "--audit-every", "0s", "--count", &transfers.to_string()]);
        run(command.args(more)).processor * 1e6 / transfers as f64
    };
    let (mut builder, mut batch) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        builder.push(of(&["--style", "builder"]));
        batch.push(of(&["--chunk", "1000", "--concurrency", "2"]));
    }
    show("builder", &builder);
    show("batches of 1000", &batch);
    ratio("batch / builder", &batch, &builder);
}

/// Must not grow with the lines.
fn memory(test: &TestDatabase) {
    println!("\nthe most memory at once");
    let folder = TempDir::with_prefix("seabank-payments-").expect("a folder can be made");
    let mut megabytes = Vec::new();
    for lines in LINES {
        let path = folder.path().join(format!("{lines}.csv"));
        let mut file = BufWriter::new(fs::File::create(&path).expect("it can be made"));
        writeln!(file, "source_id,target_id,amount").expect("written");
        for n in 0..lines {
            let (source, ahead) = (n * 7 % ACCOUNTS, n * 13 % (ACCOUNTS - 1) + 1);
            writeln!(file, "{},{},1", source + 1, (source + ahead) % ACCOUNTS + 1).expect("written");
        }
        file.flush().expect("written");
        drop(file);
        let took = run(test.program("seabank").arg("pay").arg(&path));
        let memory = took.memory as f64 / 1_048_576.0;
        println!("{:<44} {memory:>9.1} MB, {:.0} s", format!("pay, {lines} lines"), took.seconds);
        megabytes.push(memory);
        fs::remove_file(path).expect("it is there");
    }
    ratio(&format!("{} / {} lines", LINES[1], LINES[0]), &megabytes[1..], &megabytes[..1]);
}
