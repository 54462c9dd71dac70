//! Bulk inserts: any number of rows, within each server's limits.

use database::Server;
use sea_orm::sea_query::{ArrayType, OnConflict, Query};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use sea_orm_retry::Tx;

/// SQLite's limit on the parameters of a statement since 3.32.
const SQLITE_PARAMETERS_MAX: usize = 32_766;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    BigInt,
    Double,
    Uuid,
    Timestamp,
}

impl Column {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn big_int(name: &'static str) -> Self {
        Self { name, kind: Kind::BigInt }
    }

    pub(crate) const fn double(name: &'static str) -> Self {
        Self { name, kind: Kind::Double }
    }

    pub(crate) const fn uuid(name: &'static str) -> Self {
        Self { name, kind: Kind::Uuid }
    }

    pub(crate) const fn timestamp(name: &'static str) -> Self {
        Self { name, kind: Kind::Timestamp }
    }
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Self::BigInt => "int8",
            Self::Double => "float8",
            Self::Uuid => "uuid",
            Self::Timestamp => "timestamptz",
        }
    }

    fn array(self) -> ArrayType {
        match self {
            Self::BigInt => ArrayType::BigInt,
            Self::Double => ArrayType::Double,
            Self::Uuid => ArrayType::Uuid,
            Self::Timestamp => ArrayType::TimeDateTimeWithTimeZone,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    /// The key of an upsert that ignores existing rows; `None` inserts plainly.
    pub(crate) key: Option<&'static str>,
}

type Cells = Vec<Vec<Value>>;

impl Table {
    pub(crate) fn first(self, columns: usize) -> Self {
        Self { columns: &self.columns[..columns], ..self }
    }

    /// Inserts rows and ignores those whose key exists. Returns how many were inserted.
    ///
    /// PostgreSQL and CockroachDB get an array for each column, so that one text is prepared for
    /// any number of rows. SQLite gets VALUES, split by its limit on parameters.
    pub(crate) async fn insert<R>(
        &self,
        tx: &Tx,
        rows: impl ExactSizeIterator<Item = R>,
    ) -> Result<u64, DbErr>
    where
        R: IntoIterator<Item = Value>,
    {
        let mut cells: Cells = self.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (cells, value) in cells.iter_mut().zip(row) {
                cells.push(value);
            }
        }
        match tx.server() {
            Server::Sqlite => self.insert_values(tx, cells).await,
            Server::Postgres | Server::Cockroach => self.insert_arrays(tx, cells).await,
        }
    }

    async fn insert_arrays(&self, tx: &Tx, cells: Cells) -> Result<u64, DbErr> {
        let arrays = self
            .columns
            .iter()
            .zip(cells)
            .map(|(column, cells)| Value::Array(column.kind.array(), Some(Box::new(cells))));
        let text = self.arrays_text();
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), text, arrays);
        tx.execute_raw(statement).await.map(|done| done.rows_affected())
    }

    fn arrays_text(&self) -> String {
        let names = self.names();
        let arrays: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| format!("${}::{}[]", n + 1, column.kind.sql()))
            .collect();
        let leave = self.key.map(|key| format!(" ON CONFLICT ({key}) DO NOTHING")).unwrap_or_default();
        let (table, arrays) = (self.name, arrays.join(", "));
        format!("INSERT INTO {table} ({names}) SELECT {names} FROM unnest({arrays}) AS new ({names}){leave}")
    }

    async fn insert_values(&self, tx: &Tx, cells: Cells) -> Result<u64, DbErr> {
        let mut columns: Vec<_> = cells.into_iter().map(Vec::into_iter).collect();
        let rows_max = SQLITE_PARAMETERS_MAX / self.columns.len();
        let mut added = 0;
        while columns.first().is_some_and(|column| column.len() > 0) {
            let mut insert = Query::insert();
            insert.into_table(self.name).columns(self.columns.iter().map(|column| column.name));
            for _ in 0..rows_max.min(columns[0].len()) {
                insert.values_panic(columns.iter_mut().filter_map(Iterator::next).map(Into::into));
            }
            if let Some(key) = self.key {
                insert.on_conflict(OnConflict::column(key).do_nothing().to_owned());
            }
            added += tx.execute(&insert).await?.rows_affected();
        }
        Ok(added)
    }

    /// Inserts the rows by COPY: all of them, or none on an error.
    pub(crate) async fn copy(&self, tx: &Tx, rows: &[u8]) -> Result<u64, DbErr> {
        tx.copy_in(&format!("COPY {} ({}) FROM STDIN", self.name, self.names()), rows).await
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }
}
