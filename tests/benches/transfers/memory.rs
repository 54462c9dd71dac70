//! Memory, which is not to grow with the number of transfers.

use tests::TestServer;

use crate::ACCOUNTS;
use crate::bank::bank;
use crate::figures::ratio;
use crate::program::{Took, run};

const FEW: u64 = 10_000;
const MANY: u64 = 100_000;
const TURNS: usize = 2;

pub(crate) async fn measure(server: &TestServer) {
    let test = bank(server, ACCOUNTS).await;
    println!("\nthe most memory at once, taking turns");
    let of = |transfers: u64| {
        let mut command = test.program("seabank");
        command.args(["workload", "--audit-every", "100ms", "--max-ops", &transfers.to_string()]);
        let Took { seconds, memory } = run(&mut command);
        let megabytes = memory as f64 / 1_048_576.0;
        println!("{:<44} {megabytes:>9.1} MB, {seconds:.0} s", format!("workload, {transfers} transfers"));
        megabytes
    };
    let (few, many): (Vec<f64>, Vec<f64>) = (0..TURNS).map(|_| (of(FEW), of(MANY))).unzip();
    ratio(&format!("{MANY} / {FEW} transfers"), &many, &few);
}
