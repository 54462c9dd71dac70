//! The audit: verifies every balance in one snapshot, inside the database, without blocking
//! writers.

use std::fmt;

use sea_orm::{DbErr, FromQueryResult, QueryResult};
use sea_orm_retry::Tx;
use serde::Serialize;
use uuid::Uuid;

use super::panic::caught;
use super::query::{fetch_all, fetch_one};
use super::{Bank, Error, ReadError};

const LISTED: u64 = 20;

/// The result of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The number of accounts.
    pub accounts: i64,
    /// The number of transfers.
    pub transfers: i64,
    /// The sum of all balances, in minor units; text in JSON, because it may exceed 64 bits.
    #[serde(serialize_with = "as_text")]
    pub balance_total: i128,
    /// The sum of all opening balances.
    #[serde(serialize_with = "as_text")]
    pub opening_total: i128,
    /// The first violations of each kind.
    pub violations: Vec<Violation>,
    /// Whether there are none.
    pub ok: bool,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The account's number or the transfer's id; empty for a rule of the whole bank.
    pub id: String,
    /// What was found.
    pub found: String,
}

/// The rules of a sound bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The balances add up to the opening balances.
    TotalsAgree,
    /// No balance and no opening balance is negative.
    NoNegativeBalance,
    /// Every balance is its opening balance plus credits minus debits.
    BalanceExplained,
    /// Every transfer moves at least 1 between two different, existing accounts.
    TransferSound,
}

/// Sums in two halves: SQLite's integer sums overflow, and the type of a sum differs between
/// servers.
const TOTALS: &str = "SELECT count(*) AS accounts, \
     CAST(coalesce(sum(balance >> 32), 0) AS BIGINT) AS balance_high, \
     CAST(coalesce(sum(balance & 4294967295), 0) AS BIGINT) AS balance_low, \
     CAST(coalesce(sum(opening_balance >> 32), 0) AS BIGINT) AS opening_high, \
     CAST(coalesce(sum(opening_balance & 4294967295), 0) AS BIGINT) AS opening_low \
     FROM accounts";

const TRANSFERS: &str = "SELECT count(*) AS transfers FROM transfers";

const NEGATIVE: &str = "SELECT CAST(id AS TEXT) AS id, CAST(balance AS TEXT) AS balance, CAST(opening_balance AS TEXT) AS opening \
     FROM accounts WHERE balance < 0 OR opening_balance < 0 ORDER BY accounts.id LIMIT ";

const UNSOUND: &str = "SELECT t.id, CAST(t.source_id AS TEXT) AS source, \
     CAST(t.target_id AS TEXT) AS target, CAST(t.amount AS TEXT) AS amount \
     FROM transfers AS t \
     LEFT JOIN accounts AS s ON s.id = t.source_id LEFT JOIN accounts AS d ON d.id = t.target_id \
     WHERE t.amount <= 0 OR t.source_id = t.target_id OR s.id IS NULL OR d.id IS NULL ORDER BY t.id LIMIT ";

/// For every account, opening + credits - debits - balance, in two halves; zero when their carry
/// cancels.
const UNEXPLAINED: &str = "SELECT CAST(id AS TEXT) AS id, CAST(balance AS TEXT) AS balance, CAST(opening AS TEXT) AS opening FROM ( \
       SELECT a.id, a.balance, a.opening_balance AS opening, \
         (a.opening_balance >> 32) + coalesce(m.high, 0) - (a.balance >> 32) AS high, \
         (a.opening_balance & 4294967295) + coalesce(m.low, 0) - (a.balance & 4294967295) AS low \
       FROM accounts AS a LEFT JOIN ( \
         SELECT account_id, CAST(sum(high) AS BIGINT) AS high, CAST(sum(low) AS BIGINT) AS low FROM ( \
           SELECT target_id AS account_id, amount >> 32 AS high, amount & 4294967295 AS low FROM transfers \
           UNION ALL \
           SELECT source_id, -(amount >> 32), -(amount & 4294967295) FROM transfers \
         ) AS movements GROUP BY account_id \
       ) AS m ON m.account_id = a.id \
     ) AS checked WHERE (low & 4294967295) <> 0 OR high + (low >> 32) <> 0 ORDER BY checked.id LIMIT ";

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TotalsAgree => "the balances do not add up to the opening balances",
            Self::NoNegativeBalance => "a balance is negative",
            Self::BalanceExplained => "a balance is not its opening balance plus credits minus debits",
            Self::TransferSound => "a transfer is not between two accounts, or moves less than 1",
        })
    }
}

impl Bank {
    /// Audits the bank in one snapshot.
    ///
    /// # Errors
    ///
    /// A [`ReadError`] if the bank cannot be read. A violation is no error.
    pub async fn audit(&self) -> Result<Audit, ReadError> {
        match caught(self.runner.read_for_long("audit", async |tx| audit(tx).await)).await {
            Ok(audit) => audit,
            Err(panicked) => Err(Error::Body(panicked.into())),
        }
    }

    /// Audits the totals and the signs of the balances, without reading transfers.
    ///
    /// # Errors
    ///
    /// As [`audit`](Self::audit).
    pub async fn audit_totals(&self) -> Result<Audit, ReadError> {
        match caught(self.runner.read_for_long("audit totals", async |tx| audit_totals(tx).await)).await {
            Ok(audit) => audit,
            Err(panicked) => Err(Error::Body(panicked.into())),
        }
    }
}

#[derive(FromQueryResult)]
struct Totals {
    accounts: i64,
    balance_high: i64,
    balance_low: i64,
    opening_high: i64,
    opening_low: i64,
}

async fn audit(tx: &Tx) -> Result<Audit, DbErr> {
    let mut audit = audit_totals(tx).await?;
    audit.transfers = fetch_one(tx, TRANSFERS).await?.try_get("", "transfers")?;
    audit.list(tx, Rule::BalanceExplained, UNEXPLAINED, &["balance", "opening"]).await?;
    audit.list(tx, Rule::TransferSound, UNSOUND, &["source", "target", "amount"]).await?;
    Ok(audit)
}

async fn audit_totals(tx: &Tx) -> Result<Audit, DbErr> {
    let totals = fetch_one(tx, TOTALS).await?;
    let totals = Totals::from_query_result(&totals, "")?;
    let balance_total = whole(totals.balance_high, totals.balance_low);
    let opening_total = whole(totals.opening_high, totals.opening_low);
    let mut audit = Audit {
        accounts: totals.accounts,
        transfers: 0,
        balance_total,
        opening_total,
        violations: Vec::new(),
        ok: true,
    };
    if balance_total != opening_total {
        let found = format!("balances add up to {balance_total}, opening balances to {opening_total}");
        audit.violated(Violation { rule: Rule::TotalsAgree, id: String::new(), found });
    }
    audit.list(tx, Rule::NoNegativeBalance, NEGATIVE, &["balance", "opening"]).await?;
    Ok(audit)
}

impl Audit {
    fn violated(&mut self, violation: Violation) {
        self.violations.push(violation);
        self.ok = false;
    }

    async fn list(&mut self, tx: &Tx, rule: Rule, query: &str, columns: &[&str]) -> Result<(), DbErr> {
        for row in fetch_all(tx, format!("{query}{LISTED}"), []).await? {
            self.violated(violation(rule, &row, columns)?);
        }
        Ok(())
    }
}

/// The sum of two halves.
pub(crate) fn whole(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}

fn violation(rule: Rule, row: &QueryResult, columns: &[&str]) -> Result<Violation, DbErr> {
    let mut found = Vec::new();
    for column in columns {
        found.push(format!("{column} {}", row.try_get::<String>("", column)?));
    }
    let id = match rule {
        // Not as text: SQLite stores 16 bytes.
        Rule::TransferSound => row.try_get::<Uuid>("", "id")?.to_string(),
        Rule::TotalsAgree | Rule::NoNegativeBalance | Rule::BalanceExplained => row.try_get("", "id")?,
    };
    Ok(Violation { rule, id, found: found.join(", ") })
}

fn as_text<S: serde::Serializer>(total: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(total)
}
