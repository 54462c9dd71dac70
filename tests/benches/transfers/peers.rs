//! The styles side by side, each beside pgbench with the same statements.

use database::Server;
use seabank::bank::transfer::Style;
use tests::TestServer;

use crate::bank::bank;
use crate::figures::{ratio, show};
use crate::ours::Run;
use crate::workload::Workload;
use crate::{ACCOUNTS, ROUNDS, pgbench, script};

pub(crate) async fn measure(server: &TestServer) {
    let test = bank(server, ACCOUNTS).await;
    let (builder, single) =
        (script::of(&test, Style::Builder, ACCOUNTS).await, script::of(&test, Style::Single, ACCOUNTS).await);
    let (clients, workload) = match server.server {
        Server::Cockroach => (&[1, 16][..], Some(Workload::init(&test))),
        Server::Sqlite | Server::Postgres => (&[1, 8, 32][..], None),
    };
    if let Some(Err(reason)) = &workload {
        println!("NOT MEASURED: workload run bank: {reason}");
    }
    let workload = workload.and_then(Result::ok);
    for clients in clients.iter().copied() {
        println!("\ntransfers/s, clients: {clients}, accounts: {ACCOUNTS}, taking turns");
        let mut figures = [const { Vec::new() }; 6];
        for _ in 0..ROUNDS {
            let accounts = ACCOUNTS.to_string();
            let ours = |style: Style| {
                Run::of(&test, clients, &["--accounts", &accounts, "--style", style.name()]).per_second()
            };
            figures[0].push(pgbench::run(&test, &builder, clients));
            figures[1].push(ours(Style::Builder));
            figures[2].push(pgbench::run(&test, &single, clients));
            figures[3].push(ours(Style::Single));
            figures[4].push(ours(Style::Orm));
            if let Some(workload) = &workload {
                figures[5].push(workload.measure(clients).unwrap_or_else(|reason| panic!("{reason}")));
            }
        }
        let names =
            ["pgbench, builder's statements", "builder", "pgbench, single's statement", "single", "orm"];
        for (name, figures) in names.into_iter().chain(["workload run bank"]).zip(&figures) {
            if !figures.is_empty() {
                show(name, figures);
            }
        }
        ratio("builder / pgbench", &figures[1], &figures[0]);
        ratio("single / pgbench", &figures[3], &figures[2]);
        ratio("single / builder", &figures[3], &figures[1]);
        ratio("orm / builder", &figures[4], &figures[1]);
        if workload.is_some() {
            ratio("builder / workload run bank", &figures[1], &figures[5]);
            ratio("single / workload run bank", &figures[3], &figures[5]);
        }
    }
}
