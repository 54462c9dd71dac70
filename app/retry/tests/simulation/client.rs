//! Clients: what they run through the real runner, and whether what they were told is true.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm::{ConnectionTrait, DbErr, TransactionSession, TransactionTrait};
use sea_orm_retry::{Ended, Kind as End, Runner, Tx};

use crate::request::{Request, Row, encode};
use crate::server::{ACCOUNTS, Answer, OPENING};
use crate::wire::{World, last};

/// What a transaction is, and how its body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes its id first.
    InsertFirst,
    /// The same, in a way that fails where the id is there; then in the other.
    InsertPlainly,
    /// Locks both accounts first, and then looks at the id.
    LockFirst,
    /// Looks, and then inserts in a way that fails where the id is there.
    InsertStrictly,
    /// Writes its id in a nested transaction, in a way that fails where the id is there, and then looks.
    InsertNested,
    /// The same, and commits the nested transaction whatever its statement answered.
    InsertNestedBlindly,
    /// One autocommitted statement.
    Statement,
    /// The same, in a way that fails where the id is there; then in the other.
    StatementPlainly,
    /// Has no id, and so may be run but once.
    Once,
    /// The same, and says that all is well whatever a statement answered.
    Swallowing,
    /// The same, and does not wait for a slow statement.
    Impatient,
    /// Reads a snapshot twice.
    Read,
    /// Reads without a transaction.
    Query,
}

const KINDS: [Kind; 16] = [
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

/// Why a body refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too little money")]
    Funds,
    #[error("{0}")]
    Database(#[from] DbErr),
    #[error(transparent)]
    Ended(#[from] Ended),
    /// What no server may answer.
    #[error("{0}")]
    Impossible(&'static str),
}

/// One transaction: its id, and what it is to move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) row: Row,
}

/// What a client was told; looked at again when everything late has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Applied,
    Failed,
    Unknown,
    /// It did not wait for the answer.
    Left,
}

/// One client's transactions, in order.
pub(crate) async fn client(
    world: &World,
    runner: &Runner,
    seed: u64,
    number: u64,
    count: u64,
) -> Vec<(Order, Told)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1 + number);
    let mut told = Vec::new();
    for n in 0..count {
        // Some ids are asked for again, some by several clients at once.
        let repeated = rng.random_range(0..6) == 0;
        let id = if repeated { rng.random_range(0..=n) * 10 } else { n * 10 + number };
        let order = order(&mut rng, id, number * 1_000_000 + n);
        let patience = Duration::from_millis(rng.random_range(0..1_500));
        let ended = if rng.random_range(0..10) == 0 {
            tokio::time::timeout(patience, run(runner, order)).await.ok()
        } else {
            Some(run(runner, order).await)
        };
        let outcome = ended.map_or(Told::Left, |ended| told_by(world, order, ended));
        check(world, order, outcome);
        told.push((order, outcome));
    }
    told
}

/// An order is the same whenever its id is, but for the run and the way it is done.
fn order(rng: &mut ChaCha8Rng, id: u64, run: u64) -> Order {
    let mut fixed = ChaCha8Rng::seed_from_u64(id);
    let source = fixed.random_range(0..ACCOUNTS);
    let target = (source + fixed.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let amount = fixed.random_range(1..=OPENING * 3 / 4);
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    Order { kind, id, row: Row { source, target, amount, run } }
}

/// Runs an order; a reader answers with what it saw.
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

pub(crate) async fn ask(tx: &Tx, request: Request) -> Result<Answer, DbErr> {
    tx.execute_raw(encode(&request)).await?;
    Ok(last())
}

async fn insert_first(tx: &Tx, id: u64, row: Row, strict: bool) -> Result<Answer, Refusal> {
    if ask(tx, Request::Insert { id, row, strict }).await?.rows == 0 {
        return found(tx, id).await?.ok_or(Refusal::Impossible("an id in the way that is not there"));
    }
    tx.proved_not_applied();
    move_money(tx, row).await
}

async fn lock_first(tx: &Tx, id: u64, row: Row) -> Result<Answer, Refusal> {
    let balance = ask(tx, Request::Lock { source: row.source, target: row.target }).await?.value;
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    tx.proved_not_applied();
    if balance < row.amount {
        return Err(Refusal::Funds);
    }
    if ask(tx, Request::Insert { id, row, strict: false }).await?.rows == 0 {
        return found(tx, id).await?.ok_or(Refusal::Impossible("an id in the way that is not there"));
    }
    move_money(tx, row).await
}

async fn insert_strictly(tx: &Tx, id: u64, row: Row) -> Result<Answer, Refusal> {
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    ask(tx, Request::Insert { id, row, strict: true }).await?;
    tx.proved_not_applied();
    move_money(tx, row).await
}

async fn insert_nested(tx: &Tx, id: u64, row: Row, blindly: bool) -> Result<Answer, Refusal> {
    let nested = tx.begin().await?;
    let inserted = ask(&nested, Request::Insert { id, row, strict: true }).await;
    let nested = if blindly || inserted.is_ok() { nested.commit().await } else { nested.rollback().await };
    let ended = if blindly { nested } else { nested.and(inserted.map(drop)) };
    if let Err(error) = ended {
        return found(tx, id).await?.ok_or(Refusal::Database(error));
    }
    tx.proved_not_applied();
    // What is only looked at in passing may fail.
    let passing = tx.begin().await?;
    if ask(&passing, Request::Look { id }).await.is_ok() {
        passing.commit().await?;
    } else {
        let _ = passing.rollback().await;
    }
    move_money(tx, row).await
}

async fn statement(tx: &Tx, id: u64, row: Row, strict: bool) -> Result<Answer, Refusal> {
    let answer = ask(tx, Request::Whole { id, row, strict }).await?;
    if answer.rows == 2 {
        return Ok(answer);
    }
    if let Some(answer) = found(tx, id).await? {
        return Ok(answer);
    }
    tx.proved_not_applied();
    Err(Refusal::Funds)
}

async fn once(tx: &Tx, kind: Kind, row: Row) -> Result<Answer, Refusal> {
    ask(tx, Request::Mark { tag: row.run, row }).await?;
    let debit = ask(tx, Request::Debit { account: row.source, amount: row.amount });
    let debited = match kind {
        Kind::Impatient => match tokio::time::timeout(Duration::from_millis(3), debit).await {
            Ok(answer) => answer?,
            // It does not even say so.
            Err(_) => return Ok(Answer::default()),
        },
        Kind::Swallowing => debit.await.unwrap_or(Answer { rows: 1, value: 0 }),
        _ => debit.await?,
    };
    if debited.rows == 0 {
        return Err(Refusal::Funds);
    }
    let credited = ask(tx, Request::Credit { account: row.target, amount: row.amount }).await;
    if kind == Kind::Swallowing { Ok(credited.unwrap_or_default()) } else { Ok(credited?) }
}

async fn read(tx: &Tx) -> Result<Answer, Refusal> {
    let first = ask(tx, Request::Sum).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    if ask(tx, Request::Sum).await? != first {
        return Err(Refusal::Impossible("a snapshot that changed"));
    }
    Ok(first)
}

/// Looks at the id; where it is there, says so.
async fn found(tx: &Tx, id: u64) -> Result<Option<Answer>, DbErr> {
    let found = ask(tx, Request::Look { id }).await?;
    if found.rows == 1 {
        tx.proved_applied();
    }
    Ok((found.rows == 1).then_some(found))
}

async fn move_money(tx: &Tx, row: Row) -> Result<Answer, Refusal> {
    if ask(tx, Request::Debit { account: row.source, amount: row.amount }).await?.rows == 0 {
        return Err(Refusal::Funds);
    }
    Ok(ask(tx, Request::Credit { account: row.target, amount: row.amount }).await?)
}

pub(crate) fn told_by(world: &World, order: Order, ended: Result<Answer, Refusal>) -> Told {
    let reads = matches!(order.kind, Kind::Read | Kind::Query);
    let total = OPENING * i64::try_from(ACCOUNTS).unwrap_or(0);
    let impossible = match &ended {
        Ok(answer) if reads && (answer.rows, answer.value) != (0, total) => Some(format!("read {answer:?}")),
        Err(Refusal::Ended(ended)) if ended.kind() == End::Unknown && reads => {
            Some("a reader's outcome is unknown".to_owned())
        }
        Err(Refusal::Ended(ended)) if ended.attempts().is_empty() => {
            Some(format!("{ended:?} tells no attempt"))
        }
        Err(Refusal::Impossible(what)) => Some((*what).to_owned()),
        Err(_) => None,
        Ok(_) => None,
    };
    if let Some(what) = impossible {
        world.lock().store.violations.push(format!("{order:?}: {what}"));
    }
    match ended {
        Ok(_) => Told::Applied,
        Err(Refusal::Ended(ended)) if ended.kind() == End::Unknown => Told::Unknown,
        Err(_) => Told::Failed,
    }
}

/// Guarantees 1 and 2: told applied, it is there; told failed, this run has not applied it. That nothing is there twice
/// the server notes by itself.
pub(crate) fn check(world: &World, order: Order, told: Told) {
    let mut world = world.lock();
    let store = &mut world.store;
    let (present, by_this_run) = match order.kind {
        Kind::Read | Kind::Query => return,
        Kind::Once | Kind::Swallowing | Kind::Impatient => {
            let there = store.marks.contains(&order.row.run);
            (there, there)
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
        Told::Applied if !present => {
            store.violations.push(format!("{order:?} was told applied and is missing"))
        }
        Told::Failed if by_this_run => {
            store.violations.push(format!("{order:?} was told failed and is applied"))
        }
        Told::Applied | Told::Failed | Told::Unknown | Told::Left => {}
    }
}
