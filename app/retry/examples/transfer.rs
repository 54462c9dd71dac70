//! An idempotent transfer between two accounts, on a database in memory. `cargo run --example
//! transfer`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbErr, Statement};
use sea_orm_retry::{Ended, Policy, Runner, Tx};

/// The transfer was not applied, unless it is an `Ended` with an unknown outcome.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("account {0} has too little")]
    TooLittle(i64),
    #[error(transparent)]
    Database(#[from] DbErr),
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// The caller creates the id before the first attempt. Writing it first detects an earlier applied
/// attempt.
async fn transfer(tx: &Tx, id: i64, from: i64, to: i64, amount: i64) -> Result<(), TransferError> {
    let execute = async |sql: &str, values: Vec<sea_orm::Value>| {
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
        tx.execute_raw(statement).await.map(|done| done.rows_affected())
    };
    if execute("INSERT INTO transfers (id) VALUES ($1) ON CONFLICT DO NOTHING", vec![id.into()]).await? == 0 {
        tx.proved_applied();
        return Ok(());
    }
    tx.proved_not_applied();
    let debit = "UPDATE accounts SET balance = balance - $2 WHERE id = $1 AND balance >= $2";
    if execute(debit, vec![from.into(), amount.into()]).await? == 0 {
        return Err(TransferError::TooLittle(from));
    }
    let credit = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
    execute(credit, vec![to.into(), amount.into()]).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), TransferError> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let db = Database::connect(options).await?;
    db.execute_unprepared(
        "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL); \
         CREATE TABLE transfers (id BIGINT PRIMARY KEY); \
         INSERT INTO accounts VALUES (1, 100), (2, 0)",
    )
    .await?;
    let runner = Runner::new(&db, Policy::default());
    for (id, amount) in [(7, 30), (7, 30), (8, 500)] {
        let moved =
            runner.run_idempotent("transfer", async |tx: &Tx| transfer(tx, id, 1, 2, amount).await).await;
        match moved {
            Ok(()) => println!("transfer {id} of {amount}: applied"),
            Err(error) => println!("transfer {id} of {amount}: {error}"),
        }
    }
    let balances = runner
        .read("balances", async |tx: &Tx| {
            let sql =
                Statement::from_string(tx.get_database_backend(), "SELECT balance FROM accounts ORDER BY id");
            let rows = tx.query_all_raw(sql).await?;
            rows.iter().map(|row| row.try_get_by_index::<i64>(0)).collect::<Result<Vec<_>, DbErr>>()
        })
        .await?;
    println!("balances: {balances:?}");
    assert_eq!(balances, [70, 30]);
    Ok(())
}
