//! Each style compared with pgbench.

use database::Server;
use seabank::bank::transfer::Style;
use tests::TestServer;

use crate::bank::bank;
use crate::figures::{ratio, show};
use crate::ours::Run;
use crate::pgbench::Protocol::{Prepared, Simple};
use crate::workload::Workload;
use crate::{ACCOUNTS, ROUNDS, pgbench, script};

pub(crate) async fn measure(server: &TestServer) {
    let test = bank(server, ACCOUNTS).await;
    let (builder, single) =
        (script::of(&test, Style::Builder, ACCOUNTS).await, script::of(&test, Style::Single, ACCOUNTS).await);
    let (clients, workload) = match server.server {
        Server::Cockroach => (&[1, 16][..], Some(Workload::init(server, &test))),
        Server::Sqlite | Server::Postgres => (&[1, 8, 32][..], None),
    };
    if let Some(Err(reason)) = &workload {
        println!("NOT MEASURED: workload run bank: {reason}");
    }
    let workload = workload.and_then(Result::ok);
    for clients in clients.iter().copied() {
        println!("\ntransfers/s, clients: {clients}, accounts: {ACCOUNTS}, taking turns");
        let mut figures = [const { Vec::new() }; 8];
        for _ in 0..ROUNDS {
            let accounts = ACCOUNTS.to_string();
            let ours = |style: Style| {
                Run::of(&test, clients, &["--accounts", &accounts, "--style", style.name()]).per_second()
            };
            figures[0].push(pgbench::run(&test, &builder, clients, Prepared));
            figures[1].push(pgbench::run(&test, &builder, clients, Simple));
            figures[2].push(ours(Style::Builder));
            figures[3].push(pgbench::run(&test, &single, clients, Prepared));
            figures[4].push(pgbench::run(&test, &single, clients, Simple));
            figures[5].push(ours(Style::Single));
            figures[6].push(ours(Style::Orm));
            if let Some(workload) = &workload {
                figures[7].push(workload.measure(clients).unwrap_or_else(|reason| panic!("{reason}")));
            }
        }
        let names = [
            "pgbench, builder's statements, prepared",
            "the same, in its simple protocol",
            "builder",
            "pgbench, single's statement, prepared",
            "the same, in its simple protocol",
            "single",
            "orm",
        ];
        for (name, figures) in names.into_iter().chain(["workload run bank"]).zip(&figures) {
            if !figures.is_empty() {
                show(name, figures);
            }
        }
        let [.., builder, _, _, single, orm, run_bank] = &figures;
        ratio("builder / pgbench, prepared", builder, &figures[0]);
        ratio("builder / pgbench, simple", builder, &figures[1]);
        ratio("single / pgbench, prepared", single, &figures[3]);
        ratio("single / pgbench, simple", single, &figures[4]);
        ratio("single / builder", single, builder);
        ratio("orm / builder", orm, builder);
        if workload.is_some() {
            ratio("builder / workload run bank", builder, run_bank);
            ratio("single / workload run bank", single, run_bank);
        }
    }
}
