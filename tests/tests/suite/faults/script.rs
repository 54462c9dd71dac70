//! The transactions of the matrix. A body changes one counter in two statements.

use std::sync::atomic::{AtomicU32, Ordering};

use database::Server;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sea_orm_retry::Tx;
use seabank::bank::Runner;

use super::arena::Arena;
use super::cell::{Cell, Contract, Failure};
use super::chunk::Chunk;
use super::point::{FIRST, LOOK_UP, Point, SECOND, SINGLE};
use super::trouble::{Then, Trouble};

#[derive(Debug, thiserror::Error)]
pub(super) enum OwnError {
    #[error("the body changed its mind")]
    ChangedItsMind,
    #[error(transparent)]
    Database(#[from] DbErr),
}

pub(super) struct Script {
    pub(super) slot: usize,
    /// The id, and the number of the counter.
    pub(super) number: i64,
    server: Server,
    point: Point,
    trouble: Trouble,
    contract: Contract,
    attempts: AtomicU32,
}

impl Script {
    pub(super) fn new(arena: &Arena, cell: &Cell, slot: usize, number: i64) -> Self {
        let (point, trouble, contract) = (cell.point, cell.trouble, cell.contract);
        Self { slot, number, server: arena.server, point, trouble, contract, attempts: AtomicU32::new(0) }
    }

    pub(super) async fn run(&self, runner: &Runner) -> Result<(), Failure> {
        let run = match (self.point, self.contract) {
            (_, Contract::Chunk) => return self.chunk().pay(runner).await,
            (Point::Single | Point::LookUp, _) => {
                runner.statement("single", async |tx| self.single(tx).await).await
            }
            (_, Contract::Idempotent) => {
                runner.run_idempotent("idempotent", async |tx| self.idempotent(tx).await).await
            }
            (_, Contract::Once) => runner.run("once", async |tx| self.once(tx).await).await,
        };
        run.map_err(|error| Failure::of(&error))
    }

    fn chunk(&self) -> Chunk {
        Chunk { number: self.number }
    }

    pub(super) fn prepare(&self) -> String {
        match self.contract {
            Contract::Chunk => self.chunk().prepare(),
            _ => format!("INSERT INTO counters_{} (id) VALUES ({})", self.slot, self.number),
        }
    }

    /// Locks what its second or only statement waits for.
    pub(super) fn lock(&self) -> String {
        match self.contract {
            Contract::Chunk => self.chunk().lock(),
            _ => format!("UPDATE counters_{} SET n = n WHERE id = {}", self.slot, self.number),
        }
    }

    /// The queries for the fields of [`Contents`](super::arena::Contents), in order.
    pub(super) fn questions(&self) -> [String; 3] {
        let (slot, number) = (self.slot, self.number);
        let counter =
            |column| format!("SELECT CAST({column} AS BIGINT) FROM counters_{slot} WHERE id = {number}");
        match self.contract {
            Contract::Chunk => [self.chunk().taken(), self.chunk().given(), self.chunk().recorded()],
            _ => [counter("n"), counter("m"), format!("SELECT count(*) FROM ids_{slot} WHERE id = {number}")],
        }
    }

    /// The same run by a caller that knows only its id, without a fault.
    pub(super) async fn run_again(&self, runner: &Runner) -> Result<(), Failure> {
        let again = Self {
            point: if self.point.is_without_begin() { Point::Single } else { Point::Commit },
            trouble: Trouble::AtOnce { lost: false },
            attempts: AtomicU32::new(0),
            ..*self
        };
        again.run(runner).await
    }

    async fn idempotent(&self, tx: &Tx) -> Result<(), OwnError> {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        self.own_error(attempt, Point::First)?;
        if tx.query_one_raw(self.write_id(self.number)).await?.is_none() {
            tx.proved_applied();
            return Ok(());
        }
        tx.proved_not_applied();
        self.own_error(attempt, Point::Second)?;
        let sql = format!("UPDATE counters_{} SET n = n + 1, m = m + 1 WHERE id = $1 {SECOND}", self.slot);
        tx.execute_raw(self.statement(sql, self.number)).await?;
        self.last(tx, attempt).await
    }

    async fn once(&self, tx: &Tx) -> Result<(), OwnError> {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        self.own_error(attempt, Point::First)?;
        for (column, mark) in [("n", FIRST), ("m", SECOND)] {
            if mark == SECOND {
                self.own_error(attempt, Point::Second)?;
            }
            let sql =
                format!("UPDATE counters_{} SET {column} = {column} + 1 WHERE id = $1 {mark}", self.slot);
            tx.execute_raw(self.statement(sql, self.number)).await?;
        }
        self.last(tx, attempt).await
    }

    /// The id and the counter in one statement. The counter changes only if the id is new.
    async fn single(&self, tx: &Tx) -> Result<(), OwnError> {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        self.own_error(attempt, Point::First)?;
        let moved = tx.query_one_raw(self.both(self.number)).await?.is_some();
        if self.point == Point::LookUp {
            self.own_error(attempt, Point::LookUp)?;
            let sql = format!("SELECT id FROM ids_{} WHERE id = $1 {LOOK_UP}", self.slot);
            tx.query_one_raw(self.statement(sql, self.number)).await?;
        }
        if moved {
            tx.proved_not_applied()
        } else {
            tx.proved_applied()
        }
        Ok(())
    }

    /// Fails on purpose after the last statement, if the point requires it.
    async fn last(&self, tx: &Tx, attempt: u32) -> Result<(), OwnError> {
        self.own_error(attempt, Point::Commit)?;
        if matches!(self.point, Point::Again | Point::RollbackTo) && attempt == 1 {
            let conflict = match self.server {
                Server::Cockroach => "SELECT crdb_internal.force_error('40001', 'on purpose')",
                _ => "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END $$",
            };
            tx.execute_unprepared(conflict).await?;
        }
        Ok(())
    }

    /// The body's own error, if the cell has one at this point.
    fn own_error(&self, attempt: u32, before: Point) -> Result<(), OwnError> {
        let point = if self.point == Point::Single { Point::First } else { self.point };
        let then = |wanted| matches!(self.trouble, Trouble::Wire(_, then) if then == wanted);
        let is_due = match before {
            Point::First => then(Then::BlindError) && attempt == 2,
            Point::Second => then(Then::ProvenError) && attempt == 2,
            Point::LookUp => false,
            _ => self.point == Point::Rollback,
        };
        if is_due || (self.trouble == Trouble::BodyError && point == before) {
            return Err(OwnError::ChangedItsMind);
        }
        Ok(())
    }

    /// A statement whose result changes with the table.
    pub(super) fn statement_to_cache(&self) -> Statement {
        let another = -self.number;
        if self.point.is_without_begin() { self.both(another) } else { self.write_id(another) }
    }

    fn write_id(&self, id: i64) -> Statement {
        let sql = format!(
            "INSERT INTO ids_{} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING RETURNING * {FIRST}",
            self.slot
        );
        self.statement(sql, id)
    }

    fn both(&self, id: i64) -> Statement {
        let slot = self.slot;
        let sql = format!(
            "WITH written AS (INSERT INTO ids_{slot} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING RETURNING id) \
             UPDATE counters_{slot} SET n = n + 1, m = m + 1 WHERE id = $1 AND EXISTS (SELECT 1 FROM written) \
             RETURNING * {SINGLE}"
        );
        self.statement(sql, id)
    }

    fn statement(&self, sql: String, id: i64) -> Statement {
        Statement::from_sql_and_values(DbBackend::Postgres, sql, [id.into()])
    }
}
