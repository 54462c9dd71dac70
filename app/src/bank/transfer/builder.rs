//! Style `builder`: two statements, and the arithmetic in the database.
//!
//! The first writes the transfer's own id, and so keeps the contract: where it writes a row, no earlier attempt is on
//! its way. The second changes both balances, and says by the numbers it returns whether it changed both. Its
//! conditions stop before the table's constraints do, so that a refusal is an answer and not an error: constraints have
//! no names on older CockroachDB, and after an error nothing more can be asked.

use ::entity::{accounts, transfers};
use database::Server;
use sea_orm::sea_query::{
    CaseStatement, Expr, ExprTrait, Func, InsertStatement, LockType, OnConflict, Query, SelectStatement,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Statement, Value};
use sea_orm_retry::Tx;

use super::shape::Shape;
use super::{Order, Receipt, Refusal, Share, answer, receipt, recorded, writes_plainly};
use crate::bank::{AccountId, Amount, Holding};

pub(super) async fn transfer(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    // The row of a transfer from an account to itself cannot be written at all.
    let written = if order.source == order.target { None } else { tx.query_one(&write(tx, order)).await? };
    let Some(written) = written else { return not_written(tx, order).await };
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

/// Writes the transfer's row, unless its id is taken, and answers with the amount; half is taken in the same statement.
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
    // `>> 1`, because `/ 2` is a decimal division on CockroachDB; its count is 32 bits wide on PostgreSQL.
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

/// CockroachDB checks the foreign keys by reading both accounts, which the second statement changes: between two such
/// reads others change them, and all but one have to begin anew. So both are locked before they are read, in the order
/// of their numbers and without a round trip of its own. The answer is one row with the source's balance, or none where that
/// is below `least`. The condition stands for every amount: from v22.1 on what nothing asks of is not read, and so not
/// locked.
fn locked(order: &Order, least: i64) -> SelectStatement {
    let both = Query::select()
        .columns([accounts::Column::Id, accounts::Column::Balance])
        .from(accounts::Entity)
        .and_where(accounts::Column::Id.is_in([order.source.0, order.target.0]))
        .lock(LockType::Update)
        .take();
    // An aggregate, because a plain condition would be moved into the locking read, and lock one of the two.
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

/// Changes both balances where the source has enough and the target has room; answers with the numbers of those changed.
/// The two numbers stand as parameters, for taking them from the transfer's row would scan the table on CockroachDB.
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

/// No row was written: the id is taken, or the source is missing or has not enough. The source's lock proves which, for
/// every attempt changes that row.
async fn not_written(tx: &Tx, order: &Order) -> Result<Receipt, Refusal> {
    let account = |id: AccountId| accounts::Entity::find_by_id(id.0);
    let source = account(order.source).lock_exclusive().into_partial_model::<Holding>().one(tx).await?;
    if let Some(recorded) = recorded(tx, order.id).await? {
        return answer(tx, order, &recorded);
    }
    if source.is_some() {
        tx.proved_not_applied();
    }
    let target = account(order.target).into_partial_model::<Holding>().one(tx).await?;
    Err(match (source, target) {
        _ if order.source == order.target => Refusal::SameAccount(order.source),
        (None, _) => Refusal::UnknownAccount(order.source),
        (_, None) => Refusal::UnknownAccount(order.target),
        (Some(_), Some(_)) => match order.share {
            Share::Exactly(amount) => Refusal::InsufficientFunds { account: order.source, amount },
            Share::Half => Refusal::NothingToMove(order.source),
        },
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
    // What the statement changed is seen here: only a balance that it left alone can be what stopped it.
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
