//! Runs `seabank workload`.

use serde_json::Value;
use tests::TestDatabase;

use crate::TIME;

/// The answer of a run.
pub(crate) struct Run(Value);

impl Run {
    /// Runs it with more arguments. Every transfer must be applied.
    pub(crate) fn of(test: &TestDatabase, clients: u32, more: &[&str]) -> Self {
        let mut command = test.program("seabank");
        command.args(["workload", "--format", "json", "--quiet", "--audit-every", "0s"]);
        command.args(["--duration", &format!("{}s", TIME.as_secs()), "--concurrency", &clients.to_string()]);
        let output = command.args(more).output().expect("it can be started");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_str(&told).expect("it answers in JSON"))
    }

    /// Transfers a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.0["per_second"].as_f64().expect("a number")
    }

    /// Retries per transfer.
    pub(crate) fn retries_each(&self) -> f64 {
        let number = |key: &str| self.0[key].as_f64().expect("a number");
        number("retries") / number("transfers")
    }
}
