//! The staging table of a server-side import. Whatever is wrong with the file shows here.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::Tx;
use uuid::Uuid;

use crate::bank::load::{Chunk, Load, LoadError, Loaded, Part};
use crate::bank::query::{fetch_all, fetch_one, fetch_optional, statement};

pub(super) struct Staging {
    pub(super) name: String,
    /// The columns of the file, separated by commas.
    pub(super) columns: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) rows: u64,
    /// The number of rows whose account exists.
    pub(super) present: u64,
    /// Why a row cannot be added.
    pub(super) rejection: Option<String>,
}

const OUTSIDE_OF_YEARS: &str = "value NOT BETWEEN CAST('0001-01-01 00:00:00+00:00' AS TIMESTAMPTZ) \
    AND CAST('9999-12-31 23:59:59.999999+00:00' AS TIMESTAMPTZ)";

impl Staging {
    /// A unique name; creates no table.
    pub(super) fn new() -> Self {
        Self { name: format!("import_{}", Uuid::new_v4().simple()), columns: String::new() }
    }

    /// The staging table of the file's first lines.
    pub(super) fn lines_name(&self) -> String {
        format!("{}_lines", self.name)
    }

    pub(super) async fn create_lines(&self, tx: &Tx) -> Result<(), DbErr> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (line TEXT)", self.lines_name());
        tx.execute_unprepared(&sql).await.map(drop)
    }

    pub(super) async fn lines(&self, tx: &Tx, limit: u32) -> Result<String, DbErr> {
        // IMPORT numbers rows without a key in the file's order.
        let sql = format!(
            "SELECT coalesce(line, '') AS line FROM {} ORDER BY rowid LIMIT {limit}",
            self.lines_name()
        );
        let rows = fetch_all(tx, sql, []).await?;
        let lines: Vec<String> = rows.iter().map(|row| row.try_get("", "line")).collect::<Result<_, _>>()?;
        Ok(lines.join("\n"))
    }

    /// Creates the table. All columns but the key are nullable, as IMPORT requires of columns that
    /// the file lacks.
    pub(super) async fn create(&self, tx: &Tx) -> Result<(), DbErr> {
        let columns = "id INT8 PRIMARY KEY, balance INT8, opening_balance INT8, created_at TIMESTAMPTZ";
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({columns})", self.name);
        tx.execute_unprepared(&sql).await.map(drop)
    }

    pub(super) async fn drop(&self, tx: &Tx) -> Result<(), DbErr> {
        let sql = format!("DROP TABLE IF EXISTS {}, {}", self.name, self.lines_name());
        tx.execute_unprepared(&sql).await.map(drop)
    }

    async fn bad_row(&self, tx: &Tx) -> Result<Option<String>, DbErr> {
        let Self { name, columns } = self;
        for column in columns.split(", ").filter(|column| *column != "id") {
            let (outside, why) = match column {
                "created_at" => (OUTSIDE_OF_YEARS, "is not in the years 1 to 9999 in UTC"),
                _ => ("value < 0", "is negative"),
            };
            let sql = format!(
                "SELECT id, value::STRING AS text FROM (SELECT id, {column} AS value FROM {name}) AS given \
                 WHERE value IS NULL OR {outside} ORDER BY id LIMIT 1"
            );
            if let Some(row) = fetch_optional(tx, sql, []).await? {
                let id: i64 = row.try_get("", "id")?;
                let text: Option<String> = row.try_get("", "text")?;
                let what = text.map_or_else(|| "is missing".to_owned(), |value| format!("{value} {why}"));
                return Ok(Some(format!("account {id}: the {column} {what}")));
            }
        }
        Ok(None)
    }

    pub(super) async fn conflict(&self, tx: &Tx) -> Result<Option<String>, DbErr> {
        let sql = format!(
            "SELECT a.id, a.opening_balance AS there, coalesce(s.opening_balance, s.balance) AS given \
             FROM {} AS s JOIN accounts AS a ON a.id = s.id \
             WHERE a.opening_balance <> coalesce(s.opening_balance, s.balance) ORDER BY a.id LIMIT 1",
            self.name
        );
        let Some(row) = fetch_optional(tx, sql, []).await? else { return Ok(None) };
        let number = |column| row.try_get::<i64>("", column);
        let (id, there, given) = (number("id")?, number("there")?, number("given")?);
        Ok(Some(format!("account {id} already exists with opening balance {there}, not {given}")))
    }

    pub(super) async fn check(&self, tx: &Tx) -> Result<Check, DbErr> {
        let count = async |from: String| {
            let row = fetch_one(tx, &format!("SELECT count(*) AS rows FROM {from}")).await?;
            Ok::<u64, DbErr>(row.try_get::<i64>("", "rows")?.unsigned_abs())
        };
        let rows = count(self.name.clone()).await?;
        let present = count(format!("{} AS s JOIN accounts AS a ON a.id = s.id", self.name)).await?;
        let rejection = match self.bad_row(tx).await? {
            None => self.conflict(tx).await?,
            bad => bad,
        };
        Ok(Check { rows, present, rejection })
    }

    /// The chunk of rows after a key, in the order of the keys; `None` at the end.
    pub(super) async fn chunk(
        &self,
        tx: &Tx,
        place: u64,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Option<Chunk<i64>>, DbErr> {
        let Self { name, columns } = self;
        let after = after.map_or_else(String::new, |after| format!(" WHERE id > {after}"));
        let fields: Vec<String> = columns.split(", ").map(|column| format!("{column}::STRING")).collect();
        let sql = format!(
            "SELECT id, concat_ws(',', {}) AS text FROM {name}{after} ORDER BY id LIMIT {limit}",
            fields.join(", ")
        );
        let rows = fetch_all(tx, sql, []).await?;
        let (mut keys, mut content) = (Vec::with_capacity(rows.len()), String::new());
        for row in rows {
            keys.push(row.try_get("", "id")?);
            content += &row.try_get::<String>("", "text")?;
            content.push('\n');
        }
        Ok((!keys.is_empty()).then(|| Chunk::of_content(place, content.as_bytes(), keys)))
    }
}

/// Copies rows into the accounts. Existing accounts stay.
impl Load for Staging {
    type Row = i64;
    type Done = Present;
    const KIND: &'static str = "import";

    async fn add(&self, tx: &Tx, _: &Part<'_>, keys: &[i64]) -> Result<Present, LoadError> {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(Present(0)) };
        // ON CONFLICT would wait for every insert. The bounds limit the read to this chunk. A
        // concurrent insert is a duplicate, and the chunk is retried.
        let sql = format!(
            "INSERT INTO accounts (id, balance, opening_balance, created_at) \
             SELECT id, balance, coalesce(opening_balance, balance), coalesce(created_at, now()) FROM {} AS s \
             WHERE id >= $1 AND id <= $2 AND NOT EXISTS ( \
               SELECT 1 FROM accounts AS a WHERE a.id = s.id AND a.id >= $1 AND a.id <= $2)",
            self.name
        );
        let range = [(*first).into(), (*last).into()];
        let added = tx.execute_raw(statement(tx, sql, range)).await?.rows_affected();
        Ok(Present(keys.len() as u64 - added))
    }

    async fn look_up(&self, _: &Tx, _: &Part<'_>, _: &[i64]) -> Result<Present, LoadError> {
        Ok(Present(0))
    }

    fn committed(&self, _: &[i64], part: &mut Loaded<Present>) -> Result<(), LoadError> {
        part.rows -= part.done.0;
        Ok(())
    }
}

/// The number of rows in applied chunks whose account existed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present(pub(super) u64);

impl std::ops::AddAssign for Present {
    fn add_assign(&mut self, part: Self) {
        self.0 += part.0;
    }
}
