//! Style `builder`: two statements, with the arithmetic in the database.
//!
//! The first writes the transfer's id: if it writes a row, no earlier attempt is under way. The
//! second changes both balances. Its conditions are stricter than the table's constraints, because
//! an error would abort the transaction, and constraints have no names on older CockroachDB.

use ::entity::{accounts, transfers};
use database::Server;
use sea_orm::sea_query::{
    CaseStatement, Expr, ExprTrait, Func, InsertStatement, LockType, OnConflict, Query, SelectStatement,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, Statement, Value};
use sea_orm_retry::Tx;

use super::not_written::{Proof, not_written};
use super::shape::Shape;
use super::{Order, Receipt, Refusal, Share, receipt, writes_plainly};
use crate::bank::{Amount, Holding};

pub(super) async fn transfer(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    // A constraint forbids a transfer from an account to itself.
    let written = if order.source == order.target { None } else { tx.query_one(&write(tx, order)).await? };
    let Some(written) = written else { return not_written(tx, order, Proof::SourceLock).await };
    tx.proved_not_applied();
    let amount: i64 = written.try_get_by_index(0)?;
    let amount = Amount::new(amount).map_err(|error| DbErr::Type(error.to_string()))?;
    let changed = tx.query_all_raw(change_both(tx, order, amount)).await?;
    let changed: Vec<i64> = changed.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    if changed.len() == 2 {
        return Ok(receipt(order, amount));
    }
    Err(why_not_changed(tx, order, amount, &changed).await?)
}

fn write(tx: &Tx, order: &Order) -> InsertStatement {
    let mut insert = Query::insert();
    insert
        .into_table(transfers::Entity)
        .columns([
            transfers::Column::Id,
            transfers::Column::SourceId,
            transfers::Column::TargetId,
            transfers::Column::Amount,
        ])
        .returning_col(transfers::Column::Amount);
    if !writes_plainly(tx) {
        insert.on_conflict(OnConflict::column(transfers::Column::Id).do_nothing().to_owned());
    }
    let fixed = [Expr::val(order.id), Expr::val(order.source.0), Expr::val(order.target.0)];
    // `>> 1`, because `/ 2` is a decimal division on CockroachDB; 32 bits wide on PostgreSQL.
    let half = Expr::col(accounts::Column::Balance).right_shift(Expr::val(1_i32));
    let row = match (order.share, tx.server()) {
        (Share::Exactly(amount), Server::Sqlite | Server::Postgres) => {
            return insert.values_panic(fixed.into_iter().chain([Expr::val(amount.units())])).take();
        }
        (Share::Exactly(amount), Server::Cockroach) => {
            locked(order, amount.units()).exprs(fixed.into_iter().chain([Expr::val(amount.units())])).take()
        }
        (Share::Half, Server::Cockroach) => locked(order, 2).exprs(fixed.into_iter().chain([half])).take(),
        (Share::Half, Server::Sqlite | Server::Postgres) => Query::select()
            .exprs(fixed.into_iter().chain([half]))
            .from(accounts::Entity)
            .and_where(accounts::Column::Id.eq(order.source.0))
            .and_where(accounts::Column::Balance.gte(2))
            .take(),
    };
    insert.select_from(row).expect("four columns, four expressions");
    insert
}

/// Locks both accounts, in order, before CockroachDB reads them for the foreign keys: a change
/// between that read and the second statement costs a retry. Returns the source's balance, unless
/// it is below `least`. v22.1 and newer neither read nor lock what no condition needs, so every
/// amount has one.
fn locked(order: &Order, least: i64) -> SelectStatement {
    let both = Query::select()
        .columns([accounts::Column::Id, accounts::Column::Balance])
        .from(accounts::Entity)
        .and_where(accounts::Column::Id.is_in([order.source.0, order.target.0]))
        .lock(LockType::Update)
        .take();
    // Without the aggregate the planner moves the condition into the locking read, and locks one
    // account.
    let source = CaseStatement::new()
        .case(accounts::Column::Id.eq(order.source.0), Expr::col(accounts::Column::Balance));
    let one = Query::select()
        .expr_as(Func::max(source), accounts::Column::Balance)
        .from_subquery(both, accounts::Entity)
        .take();
    Query::select()
        .from_subquery(one, accounts::Entity)
        .and_where(accounts::Column::Balance.gte(least))
        .take()
}

/// Changes both balances if the source has enough and the target has room. Returns the changed
/// accounts. Account numbers read from the transfer's row would cause a full scan on CockroachDB.
fn change_both(tx: &Tx, order: &Order, amount: Amount) -> Statement {
    static SHAPE: Shape = Shape::new();
    let (source, target, amount) = (order.source.0, order.target.0, amount.units());
    let room = i64::MAX - amount;
    let values = [source, -amount, amount, source, target, source, amount, room].map(Value::from);
    let is_source = || accounts::Column::Id.eq(source);
    let balance = || Expr::col(accounts::Column::Balance);
    SHAPE.bind(tx, values, || {
        Query::update()
            .table(accounts::Entity)
            .value(
                accounts::Column::Balance,
                balance().add(
                    CaseStatement::new().case(is_source(), Expr::val(-amount)).finally(Expr::val(amount)),
                ),
            )
            .and_where(accounts::Column::Id.is_in([source, target]))
            .and_where(
                CaseStatement::new()
                    .case(is_source(), balance().gte(amount))
                    .finally(balance().lte(room))
                    .into(),
            )
            .returning_col(accounts::Column::Id)
            .take()
    })
}

async fn why_not_changed(tx: &Tx, order: &Order, amount: Amount, changed: &[i64]) -> Result<Refusal, DbErr> {
    let accounts = accounts::Entity::find()
        .filter(accounts::Column::Id.is_in([order.source.0, order.target.0]))
        .into_partial_model::<Holding>()
        .all(tx)
        .await?;
    for account in [order.source, order.target] {
        if !accounts.iter().any(|found| found.id == account.0) {
            return Ok(Refusal::UnknownAccount(account));
        }
    }
    // This reads the new balances: only an unchanged one can have failed its condition.
    let left_alone = |id: i64, stopped: &dyn Fn(i64) -> bool| {
        !changed.contains(&id) && accounts.iter().any(|a| a.id == id && stopped(a.balance))
    };
    Ok(match changed.len() {
        0 | 1 if left_alone(order.source.0, &|balance| balance < amount.units()) => {
            Refusal::InsufficientFunds { account: order.source, amount }
        }
        0 | 1 if left_alone(order.target.0, &|balance| balance > i64::MAX - amount.units()) => {
            Refusal::BalanceOverflow { account: order.target, amount }
        }
        changed => Refusal::NotTwoBalances(changed as u64),
    })
}
