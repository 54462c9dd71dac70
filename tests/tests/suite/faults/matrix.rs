//! The fault matrix: plays every cell and prints the results.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use database::Server;
use tests::TestServer;
use tokio::task::JoinSet;

use super::arena::Arena;
use super::cell::{Cell, Contract, Ended, Expected};
use super::table;
use super::trouble::Trouble;

/// Cells of bodies at once. Most of them only wait.
const SLOTS: usize = 24;

/// Cells of chunks at once, each in a bank of its own.
const BANKS: usize = 8;

/// Every fault at every point ends as the table says, and the server holds what it says.
///
/// # Panics
///
/// If one does not, after the whole table is printed.
pub(super) async fn every_fault_at_every_point_ends_as_declared(server: &TestServer) {
    let started = Instant::now();
    let arena = Arc::new(Arena::new(server, SLOTS).await);
    let cells = Arc::new(table::cells(server.server == Server::Cockroach));
    let (next, next_of_chunks) = (Arc::default(), Arc::default());
    let mut players = JoinSet::new();
    for slot in 0..SLOTS {
        let shares = |cell: &Cell| cell.contract != Contract::Chunk && cell.trouble != Trouble::Dropped;
        players.spawn(play(Arc::clone(&arena), slot, Arc::clone(&cells), Arc::clone(&next), shares));
    }
    for _ in 0..BANKS {
        let bank = Arc::new(Arena::of_bank(server).await);
        let is_chunk = |cell: &Cell| cell.contract == Contract::Chunk;
        players.spawn(play(bank, 0, Arc::clone(&cells), Arc::clone(&next_of_chunks), is_chunk));
    }
    let mut ended: Vec<Option<Ended>> = cells.iter().map(|_| None).collect();
    for (number, end) in players.join_all().await.into_iter().flatten() {
        ended[number] = Some(end);
    }
    // A dropped run does not retry, so it must not conflict with another cell's transaction.
    let alone = |cell: &Cell| cell.contract != Contract::Chunk && cell.trouble == Trouble::Dropped;
    for (number, end) in play(arena, 0, Arc::clone(&cells), Arc::default(), alone).await {
        ended[number] = Some(end);
    }
    let wrong = report(server, &cells, &ended, started);
    assert_eq!(wrong, 0, "{wrong} cells did not end as declared: see WRONG above");
}

/// Takes cells in turn and plays those that match.
async fn play(
    arena: Arc<Arena>,
    slot: usize,
    cells: Arc<Vec<Cell>>,
    next: Arc<AtomicUsize>,
    plays: fn(&Cell) -> bool,
) -> Vec<(usize, Ended)> {
    let mut ended = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(cell) = cells.get(number) else { return ended };
        if let (Expected::End(..), true) = (cell.expected, plays(cell)) {
            let id = i64::try_from(number).expect("a small number") + 1;
            ended.push((number, cell.play(&arena, slot, id).await));
        }
    }
}

/// Prints a line for each point and fault. Returns the number of wrong cells.
fn report(server: &TestServer, cells: &[Cell], ended: &[Option<Ended>], started: Instant) -> usize {
    let mut order: Vec<usize> = (0..cells.len()).filter(|it| cells[*it].contract != Contract::Once).collect();
    order.sort_by_key(|it| (cells[*it].contract == Contract::Chunk, cells[*it].point as usize, *it));
    let (mut wrong, mut nothing, mut right) = (0, 0, 0);
    let mut text = format!("fault matrix on {server}: {}\n", server.version);
    let _ = writeln!(text, "{:<27} {:<31} {:<22} other body", "point", "fault", "idempotent body");
    let mut left_out = None;
    for first in order {
        let cell = &cells[first];
        if cell.point.needs_savepoint() && server.server != Server::Cockroach {
            nothing += 2;
            if left_out.replace(cell.point) != Some(cell.point) {
                let _ = writeln!(text, "{:<27} {:<31} {}", cell.point.name(), "every fault", cell.expected);
            }
            continue;
        }
        let (mut results, mut reasons) = (Vec::new(), Vec::new());
        for number in [first, first + 1] {
            let is_same = |it: &&Cell| {
                number == first || (it.contract, it.point, it.name) == (Contract::Once, cell.point, cell.name)
            };
            let Some(it) = cells.get(number).filter(is_same) else {
                continue;
            };
            match (it.expected, &ended[number]) {
                (Expected::Nothing(_), _) => {
                    nothing += 1;
                    reasons.push(it.expected.to_string());
                    results.push("-".to_owned());
                }
                (expected, Some(end)) if expected.is_met_by(end) => {
                    right += 1;
                    results.push(end.to_string());
                }
                (expected, end) => {
                    wrong += 1;
                    let end = end.as_ref().map_or_else(|| "not played".to_owned(), |end| format!("{end:#}"));
                    results.push(format!("WRONG: expected {expected}, was {end}"));
                }
            }
        }
        let results = columns(&results, &reasons);
        let point = match cell.contract {
            Contract::Chunk => format!("pay: {}", cell.point.name()),
            _ => cell.point.name().to_owned(),
        };
        let _ = writeln!(text, "{point:<27} {:<31} {results}", cell.name);
    }
    let _ = write!(
        text,
        "{server}: {} cells: {right} as declared, {wrong} WRONG, {nothing} mean nothing there; {:.1} s",
        cells.len(),
        started.elapsed().as_secs_f64()
    );
    println!("{text}");
    wrong
}

/// The results of both bodies, or why the fault is meaningless for them.
fn columns(results: &[String], reasons: &[String]) -> String {
    if reasons.len() == results.len() {
        return reasons[0].clone();
    }
    let once = results.get(1).map_or("", String::as_str);
    format!("{:<22} {once}", results[0]).trim_end().to_owned()
}
