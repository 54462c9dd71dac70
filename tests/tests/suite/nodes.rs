//! Losing a node, behind a balancer, costs retries but no errors. One `seabank workload` runs while
//! nodes are killed or drained, and restarted; on PostgreSQL while its server restarts.
//!
//! Each test measures the longest stall, so it runs alone.
#![expect(clippy::print_stdout, reason = "how long each loss was felt is to be seen")]

use std::time::{Duration, Instant};

use database::{Options, Server};
use seabank::bank::transfer::Style;
use tests::{Balancer, Cluster, OwnServer, Probe, Test, TestDatabase, TestServer, tests};

use crate::background::Background;
use crate::books::{everything, insert_account, recorded};
use crate::crash::{assert_whole, open_rich_accounts};
use crate::wrong_input::fails;

pub(crate) fn tests() -> Vec<Test> {
    tests![alone:
        a_killed_node_costs_retries_and_no_errors within 1800 s on &[Server::Cockroach],
        a_draining_node_is_left within 900 s on &[Server::Cockroach],
        a_cluster_that_cannot_answer_is_5_and_loses_nothing within 600 s on &[Server::Cockroach],
        a_restarted_server_costs_retries_and_no_errors within 600 s on &[Server::Postgres],
    ]
}

/// The longest stall. The cluster declares a node dead after 6 s.
const STALL_MAX: Duration = Duration::from_secs(15);

/// The longest part of a stall in which a cluster serves plain sessions.
const SERVED_MAX: Duration = Duration::from_secs(6);

/// The accounts of the probe.
const PROBED: [i64; 2] = [1001, 1002];

/// Transfers after which a run has recovered.
const WELL: usize = 200;

/// 16 workers, continuous audits, 30 s per transfer, until interrupted.
const WORKLOAD: [&str; 9] =
    ["workload", "--duration", "1h", "--concurrency", "16", "--audit-every", "200ms", "--retry-for", "30"];

/// A run of the workload.
struct Load<'a> {
    test: &'a TestDatabase,
    style: Style,
    telling: Background,
    applied: usize,
    /// On a cluster.
    probe: Option<&'a Probe>,
}

impl<'a> Load<'a> {
    /// Starts it; waits for its first transfers.
    async fn start(test: &'a TestDatabase, style: Style, probe: Option<&'a Probe>) -> Self {
        let arguments = [&WORKLOAD[..], &["--style", style.name()]].concat();
        let mut load = Self { test, style, telling: Background::start(test, &arguments), applied: 0, probe };
        load.telling.wait_for_applied(WELL).await;
        load
    }

    /// Loses and restores something; prints the longest stall.
    async fn outlives(&mut self, what: &str, loss: impl Future<Output = ()>) {
        let mut loss = std::pin::pin!(loss);
        let (mut is_back, mut stall, mut late, mut since_back) = (false, Duration::ZERO, Duration::ZERO, 0);
        let (started, mut last, before) = (Instant::now(), Instant::now(), self.applied);
        loop {
            tokio::select! {
                () = &mut loss, if !is_back => is_back = true,
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            let news = self.telling.newly_applied();
            stall = stall.max(last.elapsed());
            let served = self.probe.map_or(Duration::MAX, Probe::served_for).min(last.elapsed());
            late = late.max(served);
            assert!(
                stall <= STALL_MAX,
                "{what}: nothing was applied for {stall:?}, of which {late:?} with plain sessions served"
            );
            if self.probe.is_some() {
                assert!(
                    late <= SERVED_MAX,
                    "{what}: nothing was applied for {late:?} while plain sessions were"
                );
            }
            if self.telling.has_ended() {
                panic!("{what}: the run has ended: {}", self.telling.said());
            }
            if news > 0 {
                (last, self.applied) = (Instant::now(), self.applied + news);
                since_back += if is_back { news } else { 0 };
                if since_back >= WELL {
                    break;
                }
            }
        }
        let [stall, late, took] = [stall, late, started.elapsed()].map(|it| it.as_secs_f64());
        println!(
            "{}: {what}: {} applied in {took:.1} s, nothing for {stall:.1} s, of which {late:.1} s with plain sessions served",
            self.style.name(),
            self.applied - before
        );
    }

    /// Interrupts it. No transfer has failed, only interrupted ones are unknown, and every audit
    /// was right.
    async fn ends_well(self) {
        self.telling.interrupt();
        let told = self.telling.end().await;
        let longest_s = told.answer["max_ms"].as_f64().expect("a number") / 1000.0;
        println!("{}: longest transfer {longest_s:.1} s: {}", self.style.name(), told.answer);
        let cut_off = told.failure().strip_prefix("interrupted: ").and_then(|line| line.split(' ').next());
        let cut_off: u64 = cut_off.and_then(|count| count.parse().ok()).unwrap_or(0);
        assert_eq!(told.code, Some(if cut_off > 0 { 4 } else { 130 }), "{told:?}");
        assert_eq!(
            (told.count("failed"), told.count("unknown"), told.count("skipped")),
            (0, cut_off, 0),
            "{told:?}"
        );
        // The last audit may be interrupted: another follows.
        let audit = &told.answer["audit"];
        assert!((audit.is_null() || audit["ok"] == true) && told.count("audits") > 1, "{told:?}");
        assert!(told.count("retries") > 0, "nothing was lost: {told:?}");
        let there = recorded(&self.test.connect_with(&Options::analysis()).await).await;
        assert!(told.applied.is_subset(&there), "reported applied, and missing");
        assert_whole(self.test);
    }
}

/// A cluster, its balancer and a probe; `None` for an existing server.
async fn cluster(server: &TestServer) -> Option<(Cluster, Balancer, TestDatabase, Probe)> {
    let cluster = Cluster::start(server.program()?).await.expect("it starts");
    let balancer = cluster.balancer().await.expect("a port is free");
    let test = cluster.bank(&balancer).await;
    let database = test.connect().await;
    open_rich_accounts(&database).await;
    for id in PROBED {
        insert_account(&database, id, 1_000_000).await;
    }
    let probe = Probe::start((0..3).map(|node| cluster.url(node, &test.name)).collect(), PROBED);
    Some((cluster, balancer, test, probe))
}

/// Alternates between the node with the most sessions and the leaseholder of accounts.
async fn a_killed_node_costs_retries_and_no_errors(server: &TestServer) {
    let Some((mut cluster, balancer, test, probe)) = cluster(server).await else { return };
    let mut load = Load::start(&test, Style::Builder, Some(&probe)).await;
    for kill in 1..=10 {
        let (role, node) = match kill % 2 {
            1 => ("gateway", balancer.busiest()),
            _ => ("leaseholder", cluster.leaseholder().await),
        };
        let what =
            format!("kill {kill}, the {role}, of connections {:?} node {node}", balancer.connections());
        let loss = async {
            cluster.kill(node);
            cluster.is_missed(node).await;
            cluster.start_again().await.expect("it starts again");
        };
        load.outlives(&what, loss).await;
    }
    load.ends_well().await;
}

/// Each node once, in each other style.
async fn a_draining_node_is_left(server: &TestServer) {
    let Some((mut cluster, balancer, test, probe)) = cluster(server).await else { return };
    for style in [Style::Single, Style::Orm] {
        let mut load = Load::start(&test, style, Some(&probe)).await;
        for node in 0..3 {
            let what = format!("a drain, of connections {:?} node {node}", balancer.connections());
            let loss = async {
                cluster.drain(node).await;
                cluster.start_again().await.expect("it starts again");
            };
            load.outlives(&what, loss).await;
        }
        load.ends_well().await;
    }
}

/// Before `init`, and without a quorum, through a node and a balancer.
async fn a_cluster_that_cannot_answer_is_5_and_loses_nothing(server: &TestServer) {
    let Some(program) = server.program() else { return };
    let mut cluster = Cluster::start_apart(program).expect("it starts");
    let balancer = cluster.balancer().await.expect("a port is free");
    let elsewhere = server.database().await;
    let by_node = cluster.url(0, elsewhere.name.as_str());
    let by_balancer = balancer.url(&by_node);
    fails(&elsewhere, &["audit", "--database-url", &by_node], 5, &["within 8 s", "cockroach init"]);
    fails(&elsewhere, &["audit", "--database-url", &by_balancer], 5, &["start a node that is ready"]);

    cluster.form().await.expect("it becomes a cluster");
    let test = cluster.bank(&balancer).await;
    let database = test.connect().await;
    open_rich_accounts(&database).await;
    let before = everything(&database).await;
    let by_node = cluster.url(0, test.name.as_str());
    cluster.kill(1);
    cluster.kill(2);
    cluster.is_silent(0).await;
    for command in ["seed", "transfer"] {
        fails(&test, &[command, "--database-url", &by_node], 5, &["within 8 s", "most of its nodes"]);
    }
    cluster.start_again().await.expect("they start again");
    assert!(everything(&test.connect().await).await == before);
    assert_whole(&test);
}

/// Alternates between a fast and an immediate stop.
async fn a_restarted_server_costs_retries_and_no_errors(server: &TestServer) {
    let Some(own) = OwnServer::start(server).await.expect("it starts") else { return };
    let test = own.bank().await;
    open_rich_accounts(&test.connect().await).await;
    let OwnServer::Postgres(mut own) = own else { unreachable!("it is tried on PostgreSQL") };
    let styles = [Style::Builder, Style::Single];
    for style in styles {
        let mut load = Load::start(&test, style, None).await;
        for restart in 1..=10 / styles.len() {
            let fast = restart % 2 == 1;
            let what = format!("restart {restart}, {}", if fast { "fast" } else { "at once" });
            let loss = async {
                if fast {
                    own.stop_fast().await;
                } else {
                    own.stop_at_once();
                }
                own.restart().await.expect("it starts again");
            };
            load.outlives(&what, loss).await;
        }
        load.ends_well().await;
    }
}
