//! Growth with the number of rows.

use std::fs;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use database::Server;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::transfer::{Style, TransferRequest};
use tempfile::TempDir;
use tests::{TestDatabase, TestServer};

use crate::figures::name;
use crate::program::run;
use crate::speed::fresh;
use crate::started;

const FEW: u64 = 100_000;

const FEW_ACCOUNTS: u64 = 10_000;

const TRANSFERS: usize = 3000;

pub(crate) async fn measure(many: u64) {
    started::each(Server::Postgres, "size", async |server| measure_on(&server, many).await).await;
}

async fn measure_on(server: &TestServer, many: u64) {
    println!(
        "\nthe most memory at once, in MB, on {}, with {FEW} rows and with {many}",
        name(&server.version)
    );
    let (few, _) = memory(server, FEW).await;
    let (much, large) = memory(server, many).await;
    for ((command, few), (_, much)) in few.into_iter().zip(much) {
        let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        let ratio = much as f64 / few as f64;
        println!("{command:<44} {:>9.1} {:>9.1} {ratio:>9.2}", megabytes(few), megabytes(much));
    }

    let small = fresh(server).await;
    seed(&small, FEW_ACCOUNTS);
    println!(
        "\na transfer's median, drawn accounts, taking turns, with {FEW_ACCOUNTS} accounts and with {many}"
    );
    let medians = medians([&small, &large]).await.map(|time| time.as_secs_f64() * 1000.0);
    let ratio = medians[1] / medians[0];
    println!("{:<44} {:>6.3} ms {:>6.3} ms {ratio:>6.2}", "transfer", medians[0], medians[1]);
}

/// Each command's peak memory; and the seeded bank, twice as large.
async fn memory(server: &TestServer, rows: u64) -> ([(&'static str, u64); 4], ManuallyDrop<TestDatabase>) {
    let (large, other) = (fresh(server).await, fresh(server).await);
    let folder = TempDir::with_prefix("seabank-size-").expect("a folder can be made");
    let (file, count) = (folder.path().join("accounts.csv"), rows.to_string());
    let seed = seed(&large, rows);
    let points = run(large.program("seabank").args(["points", "--count", &count])).memory;
    let export = run(large.program("seabank").args(["export", "accounts", "--output"]).arg(&file)).memory;
    let import = run(other.program("seabank").arg("import").arg(&file)).memory;
    // Frees disk space for the next step.
    fs::remove_file(&file).expect("it is there");
    ([("seed", seed), ("points", points), ("export", export), ("import", import)], large)
}

fn seed(test: &TestDatabase, rows: u64) -> u64 {
    let rows = rows.to_string();
    run(test.program("seabank").args(["seed", "--count", &rows])).memory
}

async fn medians(tests: [&TestDatabase; 2]) -> [Duration; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut banks = Vec::new();
    for test in tests {
        let database = test.connect().await;
        let analysed = "VACUUM ANALYZE accounts";
        sea_orm::ConnectionTrait::execute_unprepared(&test.connect_for_analysis().await.connection, analysed)
            .await
            .expect("the table can be analysed");
        let bank = Bank::new(&database, Policy::default());
        let range = bank.account_range().await.expect("it can be read").expect("there are accounts");
        banks.push((bank, range));
    }
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..TRANSFERS {
        for ((bank, range), times) in banks.iter().zip(&mut times) {
            let started = Instant::now();
            let id = uuid::Uuid::new_v4();
            let order = bank
                .order(id, TransferRequest::default(), Some(range), &mut rng)
                .await
                .expect("there are two accounts");
            // A refused transfer takes as long.
            let _ = bank.transfer(order, Style::default()).await;
            times.push(started.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}
