//! Clients of the real runner, and the check of the reported outcomes.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm::DbErr;
use sea_orm_retry::{Ended, Kind as End, Runner, Tx};

use crate::bodies::{
    ask, chunk, insert_first, insert_nested, insert_strictly, lock_first, once, read, statement,
};
use crate::request::{Request, Row};
use crate::server::{ACCOUNTS, Answer, OPENING};
use crate::wire::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Inserts its id first.
    InsertFirst,
    /// The same. Until it has failed once, its statement fails if the id exists.
    InsertPlainly,
    LockFirst,
    /// Looks up the id, then inserts it; fails if it exists meanwhile.
    InsertStrictly,
    /// Inserts its id in a nested transaction, and looks it up if that fails.
    InsertNested,
    /// The same, and commits the nested transaction even if its statement failed.
    InsertNestedBlindly,
    /// Its own row first, then the orders that can be applied.
    Chunk,
    Statement,
    /// The same. Until it has failed once, its statement fails if the id exists.
    StatementPlainly,
    /// Without an id: must not run again after an ambiguous commit.
    Once,
    /// Ignores errors of its statements.
    Swallowing,
    /// Does not wait for slow statements.
    Impatient,
    Read,
    Query,
}

const KINDS: [Kind; 18] = [
    Kind::Chunk,
    Kind::Chunk,
    Kind::InsertNested,
    Kind::InsertNestedBlindly,
    Kind::InsertFirst,
    Kind::InsertFirst,
    Kind::InsertPlainly,
    Kind::LockFirst,
    Kind::LockFirst,
    Kind::InsertStrictly,
    Kind::Statement,
    Kind::Statement,
    Kind::StatementPlainly,
    Kind::Once,
    Kind::Swallowing,
    Kind::Impatient,
    Kind::Read,
    Kind::Query,
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too little money")]
    Funds,
    #[error("{0}")]
    Database(#[from] DbErr),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("{0}")]
    Impossible(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) row: Row,
}

/// Verified again when all late requests have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Applied,
    Failed,
    Unknown,
    /// The client did not wait.
    Left,
}

pub(crate) async fn client(
    world: &World,
    runner: &Runner,
    seed: u64,
    number: u64,
    count: u64,
) -> Vec<(Order, Reported)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1 + number);
    let mut told = Vec::new();
    for n in 0..count {
        // Some ids repeat, also on several clients at once.
        let repeated = rng.random_range(0..6) == 0;
        let id = if repeated { rng.random_range(0..=n) * 10 } else { n * 10 + number };
        let order = order(&mut rng, id, number * 1_000_000 + n);
        let patience = Duration::from_millis(rng.random_range(0..1_500));
        let ended = if rng.random_range(0..10) == 0 {
            tokio::time::timeout(patience, run(runner, order)).await.ok()
        } else {
            Some(run(runner, order).await)
        };
        let outcome = ended.map_or(Reported::Left, |ended| reported(world, order, ended));
        check(world, order, outcome);
        told.push((order, outcome));
    }
    told
}

/// An id determines source, target and amount.
fn order(rng: &mut ChaCha8Rng, id: u64, run: u64) -> Order {
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    Order { kind, id, row: row(id, run) }
}

fn row(id: u64, run: u64) -> Row {
    let mut fixed = ChaCha8Rng::seed_from_u64(id);
    let source = fixed.random_range(0..ACCOUNTS);
    let target = (source + fixed.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let amount = fixed.random_range(1..=OPENING * 3 / 4);
    Row { source, target, amount, run }
}

fn chunk_id(id: u64) -> u64 {
    id + (1 << 40)
}

/// Its own, one that this client may have run before, and one that another client may run
/// concurrently.
fn orders(order: Order) -> [(u64, Row); 3] {
    let ids = [order.id, order.id.saturating_sub(10), order.id - order.id % 10 + (order.id + 1) % 3];
    ids.map(|id| (id, row(id, order.row.run)))
}

/// A reader returns what it saw.
pub(crate) async fn run(runner: &Runner, order: Order) -> Result<Answer, Refusal> {
    let Order { kind, id, row } = order;
    match kind {
        Kind::InsertFirst => {
            runner
                .run_idempotent("insert first", async |tx: &Tx| insert_first(tx, id, row, false).await)
                .await
        }
        Kind::InsertPlainly => {
            let plainly = async |tx: &Tx| insert_first(tx, id, row, !tx.key_taken()).await;
            runner.run_idempotent("insert plainly", plainly).await
        }
        Kind::LockFirst => {
            runner.run_idempotent("lock first", async |tx: &Tx| lock_first(tx, id, row).await).await
        }
        Kind::InsertStrictly => {
            runner.run_idempotent("insert strictly", async |tx: &Tx| insert_strictly(tx, id, row).await).await
        }
        Kind::InsertNested | Kind::InsertNestedBlindly => {
            let blindly = kind == Kind::InsertNestedBlindly;
            let body = async |tx: &Tx| insert_nested(tx, id, row, blindly).await;
            runner.run_idempotent("insert nested", body).await
        }
        Kind::Chunk => {
            let orders = orders(order);
            runner.run_idempotent("chunk", async |tx: &Tx| chunk(tx, chunk_id(id), &orders).await).await
        }
        Kind::Statement => {
            runner.statement("statement", async |tx: &Tx| statement(tx, id, row, false).await).await
        }
        Kind::StatementPlainly => {
            let plainly = async |tx: &Tx| statement(tx, id, row, !tx.key_taken()).await;
            runner.statement("statement plainly", plainly).await
        }
        Kind::Once | Kind::Swallowing | Kind::Impatient => {
            runner.run("once", async |tx: &Tx| once(tx, kind, row).await).await
        }
        Kind::Read => runner.read("read", async |tx: &Tx| read(tx).await).await,
        Kind::Query => runner.query("query", async |tx: &Tx| Ok(ask(tx, Request::Sum).await?)).await,
    }
}

pub(crate) fn reported(world: &World, order: Order, ended: Result<Answer, Refusal>) -> Reported {
    let reads = matches!(order.kind, Kind::Read | Kind::Query);
    let total = OPENING * i64::try_from(ACCOUNTS).unwrap_or(0);
    let impossible = match &ended {
        Ok(answer) if reads && (answer.rows, answer.value) != (0, total) => Some(format!("read {answer:?}")),
        Err(Refusal::Ended(ended)) if ended.kind() == End::Unknown && reads => {
            Some("a reader's outcome is unknown".to_owned())
        }
        Err(Refusal::Ended(ended)) if ended.attempts().is_empty() => {
            Some(format!("{ended:?} lists no attempt"))
        }
        Err(Refusal::Impossible(what)) => Some((*what).to_owned()),
        Err(_) => None,
        Ok(_) => None,
    };
    if let Some(what) = impossible {
        world.lock().store.violations.push(format!("{order:?}: {what}"));
    }
    match ended {
        Ok(_) => Reported::Applied,
        Err(Refusal::Ended(ended)) if ended.kind() == End::Unknown => Reported::Unknown,
        Err(_) => Reported::Failed,
    }
}

/// Guarantees 1 and 2. The server itself detects double application.
pub(crate) fn check(world: &World, order: Order, told: Reported) {
    let mut world = world.lock();
    let store = &mut world.store;
    let (present, by_this_run) = match order.kind {
        Kind::Read | Kind::Query => return,
        Kind::Once | Kind::Swallowing | Kind::Impatient => {
            let there = store.marks.contains(&order.row.run);
            (there, there)
        }
        Kind::Chunk => {
            let found = store.rows.get(&chunk_id(order.id));
            let by_this_run = found.is_some_and(|it| it.run == order.row.run);
            let of_this_run = |(id, row): &(u64, Row)| store.rows.get(id) == Some(row);
            (found.is_some(), by_this_run || orders(order).iter().any(of_this_run))
        }
        Kind::InsertFirst
        | Kind::InsertPlainly
        | Kind::LockFirst
        | Kind::InsertStrictly
        | Kind::InsertNested
        | Kind::InsertNestedBlindly
        | Kind::Statement
        | Kind::StatementPlainly => {
            let found = store.rows.get(&order.id);
            let same = found.is_some_and(|it| Row { run: order.row.run, ..*it } == order.row);
            (same, found.is_some_and(|it| it.run == order.row.run))
        }
    };
    match told {
        Reported::Applied if !present => {
            store.violations.push(format!("{order:?} was reported applied and is missing"))
        }
        Reported::Failed if by_this_run => {
            store.violations.push(format!("{order:?} was reported failed and is applied"))
        }
        Reported::Applied | Reported::Failed | Reported::Unknown | Reported::Left => {}
    }
}
