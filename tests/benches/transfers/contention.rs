//! Few accounts, many workers, every style.

use database::Server;
use seabank::bank::transfer::Style;
use tests::TestServer;

use crate::ROUNDS;
use crate::bank::bank;
use crate::figures::{ratio, show};
use crate::ours::Run;

const WORKERS: u32 = 16;

const RESTARTS: [&str; 2] = ["--savepoint-restarts", "3"];

pub(crate) async fn measure(server: &TestServer) {
    for accounts in [2, 10, 1000] {
        println!("\ntransfers/s, workers: {WORKERS}, accounts: {accounts}, taking turns; retries a transfer");
        let test = bank(server, accounts).await;
        let accounts = accounts.to_string();
        let run = |style: Style, more: &[&str]| {
            let arguments = ["--accounts", &accounts, "--style", style.name()];
            Run::of(&test, WORKERS, &[&arguments[..], more].concat())
        };
        let mut ways: Vec<(String, Style, &[&str])> =
            Style::on(server.server).map(|style| (style.name().to_owned(), style, &[][..])).collect();
        if server.server == Server::Cockroach {
            for style in [Style::Builder, Style::Orm] {
                ways.push((format!("{}, with the savepoint", style.name()), style, &RESTARTS));
            }
        }
        let mut runs: Vec<Vec<Run>> = ways.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((_, style, more), runs) in ways.iter().zip(&mut runs) {
                runs.push(run(*style, more));
            }
        }
        let per_second = |runs: &[Run]| runs.iter().map(Run::per_second).collect::<Vec<_>>();
        for ((name, ..), runs) in ways.iter().zip(&runs) {
            let retries = runs.iter().map(Run::retries_each).sum::<f64>() / runs.len() as f64;
            show(&format!("{name} ({retries:.2})"), &per_second(runs));
        }
        for (with, (name, style, more)) in
            ways.iter().enumerate().filter(|(_, (_, _, more))| !more.is_empty())
        {
            let without =
                ways.iter().position(|(_, other, none)| other.name() == style.name() && none.is_empty());
            let without = without.unwrap_or_else(|| panic!("{name}: {more:?}"));
            ratio(&format!("{name} / without"), &per_second(&runs[with]), &per_second(&runs[without]));
        }
    }
}
