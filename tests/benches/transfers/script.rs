//! A style's statements as a pgbench script, recorded from the wire.

use sea_orm::{Statement, Value};
use sea_orm_retry::Policy;
use seabank::bank::transfer::{Order, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank, Runner};
use tests::{Tap, TestDatabase};
use uuid::Uuid;

/// Values that occur nowhere else in a statement.
const SOURCE: i64 = 601;
const TARGET: i64 = 702;
const AMOUNT: i64 = 803;

/// A transfer of 1 between two of `accounts` accounts, at least [`TARGET`].
pub(crate) async fn of(test: &TestDatabase, style: Style, accounts: u64) -> String {
    let tap = Tap::new(&test.connect().await);
    let amount = Some(Amount::new(AMOUNT).expect("positive"));
    let order = Order::new(
        Uuid::new_v4(),
        AccountId(SOURCE),
        AccountId(TARGET),
        TransferRequest { amount, ..TransferRequest::default() },
    );
    Bank::on(Runner::of(tap.runner(Policy::default()), tap.server(), None))
        .transfer(order, style)
        .await
        .expect("applied");
    let statements: Vec<String> = tap.sent().iter().map(|it| format!("{};", text(it))).collect();
    [draws(accounts).as_str(), &statements.join("\n")].concat()
}

/// Draws two different accounts.
pub(crate) fn draws(accounts: u64) -> String {
    format!(
        "\\set source random(1, {accounts})\n\\set target (:source + random(1, {accounts} - 1) - 1) % {accounts} + 1\n"
    )
}

/// The statement with pgbench variables of the same types.
fn text(statement: &Statement) -> String {
    let values = statement.values.iter().flat_map(|values| values.iter()).enumerate();
    let mut text = statement.sql.clone();
    // Backwards: `$1` is a prefix of `$10`.
    for (n, value) in values.collect::<Vec<_>>().into_iter().rev() {
        let variable = match value {
            Value::Uuid(_) => "gen_random_uuid()",
            Value::BigInt(Some(SOURCE)) => "CAST(:source AS INT8)",
            Value::BigInt(Some(TARGET)) => "CAST(:target AS INT8)",
            Value::BigInt(Some(AMOUNT)) => "1",
            Value::BigInt(Some(minus)) if *minus == -AMOUNT => "(-1)",
            Value::BigInt(Some(room)) if *room == i64::MAX - AMOUNT => "9223372036854775806",
            other => panic!("{other:?} in {}", statement.sql),
        };
        text = text.replace(&format!("${}", n + 1), variable);
    }
    text
}
