//! The load: its counts, its resumption, and what stops it.

use std::fs;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use sea_orm::ConnectionTrait;
use serde_json::Value;
use tempfile::TempDir;
use tests::{Test, TestDatabase, TestServer, scalar, tests};
use uuid::Uuid;

use crate::background::{Background, Finished};
use crate::books::insert_account;
use crate::crash::assert_whole;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        every_style_is_measured_and_leaves_the_bank_whole,
        batches_are_measured_transfer_by_transfer,
        a_killed_run_is_completed,
        a_rate_is_kept_and_latency_counts_from_when_a_transfer_was_due,
        the_first_audit_that_finds_the_bank_broken_ends_the_run,
        a_transfer_that_fails_ends_the_run_unless_tolerated,
        an_interrupted_run_tells_its_totals,
        wrong_loads_are_refused,
        the_old_names_of_flags_still_work,
    ]
}

async fn workload(test: &TestDatabase, more: &[&str]) -> Finished {
    Background::start(test, &[&["workload"], more].concat()).end().await
}

async fn bank(server: &TestServer, accounts: i64) -> TestDatabase {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=accounts {
        insert_account(&database, id, 1000).await;
    }
    test
}

async fn every_style_is_measured_and_leaves_the_bank_whole(server: &TestServer) {
    let folder = TempDir::with_prefix("seabank-workload-").expect("a folder can be made");
    for style in seabank::bank::transfer::Style::on(server.server).map(|style| style.name()) {
        let test = bank(server, 20).await;
        let file = folder.path().join(style);
        let (run, path) = (Uuid::new_v4().to_string(), file.to_str().expect("a name"));
        let load =
            ["--style", style, "--max-ops", "200", "--concurrency", "4", "--run", &run, "--rng-seed", "1"];
        let more = ["--hot", "3", "--audit-every", "20ms", "--display-every", "50ms", "--histogram", path];
        let told = workload(&test, &[&load[..], &more].concat()).await;
        assert_eq!(told.code, Some(0), "{told:?}");
        assert_eq!((told.count("transfers"), told.count("failed"), told.count("unknown")), (200, 0, 0));
        assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM transfers").await, 200);
        let number = |key: &str| told.answer[key].as_f64().unwrap_or_else(|| panic!("{key}: {told:?}"));
        let (p50, p95, p99, max) = (number("p50_ms"), number("p95_ms"), number("p99_ms"), number("max_ms"));
        assert!(0.0 < p50 && p50 <= p95 && p95 <= p99 && p99 <= max, "{told:?}");
        assert!((number("per_second") - 200.0 / number("seconds")).abs() < 0.01, "{told:?}");
        assert_eq!(told.count("attempts"), 200 + told.count("retries"), "{told:?}");
        assert!(told.count("audits") >= 2 && told.answer["audit"]["ok"] == true, "{told:?}");
        assert_eq!(told.answer["audit"]["transfers"], 200);
        assert!(told.errors.contains("p99 ms"), "lines are told: {}", told.errors);
        assert_eq!(logged(&fs::read(&file).expect("it is written")), 200);

        // The same run again finds its transfers.
        let again = workload(&test, &load).await;
        assert_eq!((again.count("transfers"), again.count("already_applied")), (200, 200), "{again:?}");
        assert_whole(&test);
    }
}

/// Each transfer of a batch counts from when it was due.
async fn batches_are_measured_transfer_by_transfer(server: &TestServer) {
    let test = bank(server, 20).await;
    let run = Uuid::new_v4().to_string();
    // The last batch has 30.
    let load = ["--batch", "70", "--max-ops", "450", "--concurrency", "3", "--run", &run, "--rng-seed", "1"];
    let told = workload(&test, &[&load[..], &["--hot", "3", "--audit-every", "20ms"]].concat()).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!((told.count("transfers"), told.count("failed"), told.count("unknown")), (450, 0, 0));
    assert_eq!((&told.answer["style"], &told.answer["batch"]), (&"batch".into(), &70.into()), "{told:?}");
    assert_eq!(told.count("attempts"), 7 + told.count("retries"), "{told:?}");
    assert_eq!(told.applied.len(), 450, "each is told");
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM transfers").await, 450);
    let again = workload(&test, &load).await;
    assert_eq!((again.count("transfers"), again.count("already_applied")), (450, 450), "{again:?}");

    // Due at once: full batches. Due one after the other: batches of about one.
    let fast =
        workload(&test, &["--rate", "1000000", "--max-ops", "300", "--batch", "100", "--concurrency", "1"])
            .await;
    assert_eq!(
        (fast.count("transfers"), fast.count("attempts")),
        (300, 3 + fast.count("retries")),
        "{fast:?}"
    );
    let slow =
        workload(&test, &["--rate", "20", "--max-ops", "10", "--batch", "100", "--concurrency", "4"]).await;
    assert!(slow.answer["seconds"].as_f64().expect("a time") >= 0.45, "{slow:?}");
    assert_eq!(slow.count("transfers"), 10, "{slow:?}");
    assert_whole(&test);
}

/// The number of latencies in an HdrHistogram log.
fn logged(text: &[u8]) -> u64 {
    let mut count = 0;
    for entry in IntervalLogIterator::new(text) {
        if let Ok(LogEntry::Interval(interval)) = entry {
            let packed = data_encoding(interval.encoded_histogram());
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut packed.as_slice()).expect("a histogram");
            count += histogram.len();
        }
    }
    count
}

/// Decodes Base64.
fn data_encoding(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|it| DIGITS.iter().position(|digit| *digit == it))
        .map(|it| it as u32)
        .collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let word = (0..4).fold(0, |word, n| word << 6 | four.get(n).copied().unwrap_or(0));
        word.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}

async fn a_killed_run_is_completed(server: &TestServer) {
    let test = bank(server, 20).await;
    let database = test.connect().await;
    let run = Uuid::new_v4().to_string();
    let load = ["--max-ops", "400", "--concurrency", "8", "--run", &run, "--rng-seed", "7"];
    let mut loading = Background::start(&test, &[&["workload"], &load[..]].concat());
    loading.wait_for_applied(50).await;
    let reported = loading.kill().len() as i64;
    let there = scalar(&database, "SELECT count(*) FROM transfers").await;
    assert!(reported <= there && there < 400, "{reported} were told, {there} are there");
    assert_whole(&test);

    let told = workload(&test, &load).await;
    assert_eq!((told.code, told.count("transfers")), (Some(0), 400), "{told:?}");
    assert!(told.count("already_applied") as i64 >= there, "{told:?}");
    assert_eq!(scalar(&database, "SELECT count(*) FROM transfers").await, 400);
    assert_whole(&test);
}

async fn a_rate_is_kept_and_latency_counts_from_when_a_transfer_was_due(server: &TestServer) {
    let test = bank(server, 20).await;
    let slow = workload(&test, &["--rate", "50", "--max-ops", "26", "--concurrency", "2"]).await;
    // The last of them is due after half a second.
    assert!(slow.answer["seconds"].as_f64().expect("a time") >= 0.5, "{slow:?}");

    // All are due at once for one worker: the last waits for all others.
    let fast = workload(&test, &["--rate", "1000000", "--max-ops", "100", "--concurrency", "1"]).await;
    let milliseconds = |key: &str| fast.answer[key].as_f64().expect("a time");
    assert!(milliseconds("max_ms") > 900.0 * milliseconds("seconds"), "{fast:?}");
    assert!(milliseconds("p50_ms") > 100.0 * milliseconds("seconds"), "{fast:?}");
}

/// Money appears during the load.
async fn the_first_audit_that_finds_the_bank_broken_ends_the_run(server: &TestServer) {
    let test = bank(server, 20).await;
    let database = test.connect().await;
    let mut loading = Background::start(&test, &["workload", "--duration", "60s", "--audit-every", "20ms"]);
    loading.wait_for_applied(20).await;
    // Retried, because it conflicts with the load.
    let intrusion = "INSERT INTO accounts (id, balance, opening_balance) VALUES (99, 5, 4)";
    let runner = seabank::bank::Runner::new(&database, sea_orm_retry::Policy::default());
    let intruded = runner
        .run("intrude", async |tx: &sea_orm_retry::Tx| tx.execute_unprepared(intrusion).await.map(drop));
    intruded.await.expect("applied");
    let told = loading.end().await;
    assert_eq!(told.code, Some(3), "{told:?}");
    let audit = &told.answer["audit"];
    assert_eq!(
        (&audit["ok"], &audit["violations"][0]["rule"]),
        (&Value::Bool(false), &"totals_agree".into())
    );
    assert!(told.answer["seconds"].as_f64().expect("a time") < 50.0, "{told:?}");
    assert!(told.failure().contains("the bank is broken"), "{told:?}");
}

/// All balances are at their maximum.
async fn a_transfer_that_fails_ends_the_run_unless_tolerated(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, i64::MAX).await;
    }
    let load = ["--max-ops", "50", "--concurrency", "1"];
    let told = workload(&test, &load).await;
    assert_eq!((told.code, told.count("failed")), (Some(1), 1), "{told:?}");
    assert!(told.failure().contains("would exceed 64 bits"), "{told:?}");
    let told = workload(&test, &[&load[..], &["--tolerate-errors"]].concat()).await;
    assert_eq!((told.code, told.count("failed"), told.count("transfers")), (Some(0), 50, 0), "{told:?}");
    assert_whole(&test);
}

async fn an_interrupted_run_tells_its_totals(server: &TestServer) {
    let test = bank(server, 20).await;
    let mut loading = Background::start(&test, &["workload", "--duration", "60s"]);
    loading.wait_for_applied(10).await;
    loading.interrupt();
    let told = loading.end().await;
    assert_eq!(told.code, Some(130), "{told:?}");
    assert!(told.count("transfers") >= 10 && told.answer["audit"]["ok"] == true, "{told:?}");
    let there = scalar(&test.connect().await, "SELECT count(*) FROM transfers").await;
    assert_eq!(told.count("transfers") as i64, there);
}

async fn the_old_names_of_flags_still_work(server: &TestServer) {
    let test = bank(server, 20).await;
    let told = workload(&test, &["--max-ops", "6", "--batch", "3"]).await;
    assert_eq!((told.code, told.count("transfers")), (Some(0), 6), "{told:?}");
    assert_eq!(told.answer["batch"], 3, "{told:?}");
    for old in [&["transfer", "--count", "6", "--batch", "3"][..], &["accounts", "--from", "1"]] {
        test.seabank().args(old).assert().success();
    }
    assert_whole(&test);
}

async fn wrong_loads_are_refused(server: &TestServer) {
    let test = server.database().await;
    for (more, word) in [
        (&["--rate", "0"][..], "--rate"),
        (&["--rate", "fast"], "--rate"),
        (&["--duration", "0s"], "--duration"),
        (&["--duration", "soon"], "--duration"),
        (&["--count", "0"], "--count"),
        (&["--concurrency", "0"], "--concurrency"),
        (&["--concurrency", "10001"], "--concurrency"),
        (&["--accounts", "1"], "--accounts"),
        (&["--hot", "1"], "--hot"),
        (&["--hot", "5", "--zipf", "1"], "--zipf"),
        (&["--chunk", "0"], "--chunk"),
        (&["--batch", "10", "--style", "orm"], "--style"),
        (&["--amount", "0"], "--amount"),
        (&["--histogram", "/no/such/folder/file"], "cannot be written"),
    ] {
        let told = workload(&test, more).await;
        assert_eq!(told.code, Some(2), "{more:?}: {told:?}");
        assert!(told.failure().contains(word), "{more:?}: {told:?}");
    }
    let told = workload(&test, &["--max-ops", "5"]).await;
    assert_eq!((told.code, &told.answer["kind"]), (Some(1), &"too_few_accounts".into()), "{told:?}");
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM transfers").await, 0);
}
