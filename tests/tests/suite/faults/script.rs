//! The bodies that the matrix runs. Each changes one counter in two statements; applied once, the counter says 1.

use std::sync::atomic::{AtomicU32, Ordering};

use database::Server;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sea_orm_retry::Tx;
use seabank::bank::{Error, Runner};

use super::arena::Arena;
use super::cell::{Cell, Contract};
use super::point::{FIRST, LOOK_UP, Point, SECOND, SINGLE};
use super::trouble::{Then, Trouble};

/// What a body ends with that does not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnError {
    #[error("the body changed its mind")]
    ChangedItsMind,
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// What the bodies of one cell do.
pub(super) struct Script {
    pub(super) slot: usize,
    /// The id that is written, and the number of the counter.
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

    /// The run of this cell.
    pub(super) async fn run(&self, runner: &Runner) -> Result<(), Error<OwnError>> {
        match (self.point, self.contract) {
            (Point::Single | Point::LookUp, _) => {
                runner.statement("single", async |tx| self.single(tx).await).await
            }
            (_, Contract::Idempotent) => {
                runner.run_idempotent("idempotent", async |tx| self.idempotent(tx).await).await
            }
            (_, Contract::Once) => runner.run("once", async |tx| self.once(tx).await).await,
        }
    }

    /// The same run by somebody who has only its id, and no trouble.
    pub(super) async fn run_again(&self, runner: &Runner) -> Result<(), Error<OwnError>> {
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

    /// The id and the counter in one statement; the id alone decides whether the counter moves.
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

    /// After the last statement: what has to come before the point can be reached.
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

    /// The body's own error, where this cell has one before the point.
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

    /// A statement whose answer changes with the table: the first of a body that has an id, or the only one.
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
