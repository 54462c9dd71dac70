//! Looks up many rows by key, in one statement whose text does not depend on their number. CROSS
//! JOIN on SQLite and LOOKUP JOIN on CockroachDB force an index seek for each key.

use std::collections::HashMap;

use database::Server;
use sea_orm::{DbErr, FromQueryResult, QueryResult};
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::query::{big_ints, fetch_all, uuids};
use super::{Holding, Movement};

/// The accounts that exist, by number.
pub(crate) async fn holdings(tx: &Tx, ids: &[i64]) -> Result<HashMap<i64, Holding>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT a.id, balance, opening_balance FROM json_each(?) AS given \
             CROSS JOIN accounts AS a ON a.id = given.value"
        }
        Server::Postgres => "SELECT id, balance, opening_balance FROM accounts WHERE id = ANY($1::int8[])",
        Server::Cockroach => {
            "SELECT a.id, balance, opening_balance FROM unnest($1::int8[]) AS given (id) \
             INNER LOOKUP JOIN accounts AS a ON a.id = given.id"
        }
    };
    let rows = fetch_all(tx, sql, [big_ints(tx, ids.iter().copied())]).await?;
    by_key(&rows, |holding: &Holding| holding.id)
}

/// The transfers that are recorded, by id.
pub(crate) async fn movements(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<Uuid, Movement>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT t.id, source_id, target_id, amount FROM json_each(?) AS given \
             CROSS JOIN transfers AS t ON t.id = unhex(given.value)"
        }
        Server::Postgres => {
            "SELECT id, source_id, target_id, amount FROM transfers WHERE id = ANY($1::uuid[])"
        }
        Server::Cockroach => {
            "SELECT t.id, source_id, target_id, amount FROM unnest($1::uuid[]) AS given (id) \
             INNER LOOKUP JOIN transfers AS t ON t.id = given.id"
        }
    };
    let rows = fetch_all(tx, sql, [uuids(tx, ids)]).await?;
    by_key(&rows, |movement: &Movement| movement.id)
}

/// The first two accounts at or after each number, in their order.
pub(crate) async fn accounts_from(tx: &Tx, numbers: &[i64]) -> Result<HashMap<i64, Vec<i64>>, DbErr> {
    let sql = match tx.server() {
        Server::Sqlite => {
            "SELECT given.value, a.id FROM json_each(?) AS given CROSS JOIN accounts AS a ON a.id IN \
               (SELECT id FROM accounts WHERE id >= given.value ORDER BY id LIMIT 2) \
             ORDER BY a.id"
        }
        Server::Postgres => {
            "SELECT given.id, a.id FROM unnest($1::int8[]) AS given (id) CROSS JOIN LATERAL \
               (SELECT id FROM accounts WHERE id >= given.id ORDER BY id LIMIT 2) AS a \
             ORDER BY a.id"
        }
        // Without the ordinality CockroachDB would join all accounts instead of seeking.
        Server::Cockroach => {
            "SELECT given.id, a.id FROM unnest($1::int8[]) AS given (id) CROSS JOIN LATERAL \
               (SELECT id FROM (SELECT id FROM accounts WHERE id >= given.id ORDER BY id LIMIT 2) \
                WITH ORDINALITY) AS a \
             ORDER BY a.id"
        }
    };
    let mut found: HashMap<i64, Vec<i64>> = HashMap::with_capacity(numbers.len());
    for row in fetch_all(tx, sql, [big_ints(tx, numbers.iter().copied())]).await? {
        found.entry(row.try_get_by_index(0)?).or_default().push(row.try_get_by_index(1)?);
    }
    Ok(found)
}

fn by_key<K: Eq + std::hash::Hash, R: FromQueryResult>(
    rows: &[QueryResult],
    key: impl Fn(&R) -> K,
) -> Result<HashMap<K, R>, DbErr> {
    let read = |row| R::from_query_result(row, "").map(|row| (key(&row), row));
    rows.iter().map(read).collect()
}
