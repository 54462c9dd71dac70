//! Memory must not grow with the number of transfers.

use tests::TestServer;

use crate::ACCOUNTS;
use crate::bank::bank;
use crate::figures::ratio;
use crate::program::{Took, run};

const FEW: u64 = 10_000;
const MANY: u64 = 100_000;

pub(crate) async fn measure(server: &TestServer) {
    let test = bank(server, ACCOUNTS).await;
    println!("\nthe most memory at once");
    let of = |transfers: u64| {
        let mut command = test.program("seabank");
        command.args(["workload", "--audit-every", "100ms", "--count", &transfers.to_string()]);
        let Took { seconds, memory, .. } = run(&mut command);
        let megabytes = memory as f64 / 1_048_576.0;
        println!("{:<44} {megabytes:>9.1} MB, {seconds:.0} s", format!("workload, {transfers} transfers"));
        megabytes
    };
    let (few, many) = (of(FEW), of(MANY));
    ratio(&format!("{MANY} / {FEW} transfers"), &[many], &[few]);
}
