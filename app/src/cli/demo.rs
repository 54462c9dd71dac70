//! `demo`: the tutorial's steps.

use database::Options;
use serde_json::json;
use terminal::{Failure, counted, grouped, wrapped};

use super::answer::Answer;
use super::context::Context;
use super::{audit, seed, transfer};
use crate::bank::transfer::{Style, TransferRequest};

pub(super) async fn run(context: &Context) -> Result<Answer, Failure> {
    steps(context).await.map_err(|failure| {
        // A step's own line would say that nothing was changed.
        let interrupted = context.interruption(
            "the steps above are done, and the next may be done in part; run it again, it goes on from there",
        );
        interrupted.filter(|interrupted| interrupted.exit == failure.exit).unwrap_or(failure)
    })
}

async fn steps(context: &Context) -> Result<Answer, Failure> {
    let max_connections = context.pool().unwrap_or(1);
    let options = Options { max_connections, create: true, ..Options::default() };
    let database = context.writable(&options).await?;
    let connected = format!("1. Connected to {}, {}.", context.address()?, version(&database.version));
    context.step(&wrapped(&connected, 3));

    let applied = context.or_interrupted(migration::up(&database)).await?;
    context.step(&match applied {
        0 => {
            format!("2. The schema is in place: all {} migrations were already applied.", migration::total())
        }
        applied => format!("2. Created the schema: {} applied.", counted(applied as u64, "migration")),
    });

    let bank = context.bank_on(&database);
    let existing = context.read(bank.account_count()).await?;
    context.step(&format!("3. Read the accounts: there are {}.", grouped(existing)));

    let mut keys = json!({ "server": database.version, "migrations": applied, "existing": existing });
    let mut step = |number: u32, name: &str, answer: Answer| {
        let begin = |at| if at == 0 { format!("{number}. ") } else { " ".repeat(3) };
        let lines = answer.text().lines().enumerate();
        let lines: Vec<_> = lines.map(|(at, line)| wrapped(&(begin(at) + line), 3)).collect();
        context.step(&lines.join("\n"));
        keys[name] = answer.keys();
        (keys.clone(), answer.into_failure())
    };
    let (told, failure) = step(4, "seed", seed::seed(context, &bank, &seed::demo()).await?);
    if failure.is_some() {
        return Ok(Answer::new(told, "").with_failure(failure));
    }
    let transferred = transfer::transfer_once(
        context,
        &bank,
        None,
        TransferRequest::default(),
        Style::default(),
        rand::random(),
    );
    let (told, failure) = step(5, "transfer", transferred.await?);
    if failure.is_some() {
        return Ok(Answer::new(told, "").with_failure(failure));
    }
    let (told, failure) = step(6, "audit", audit::audit(context, &bank).await?);
    Ok(Answer::new(told, "").with_failure(failure))
}

/// Without how the server was built.
fn version(version: &str) -> &str {
    version.split([',', '(']).next().unwrap_or(version).trim()
}
