//! The transaction that a body holds: a SeaORM connection that records what became of its
//! statements.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, TryStreamExt};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tracing::Instrument;

use crate::record::Proof;
use crate::session::Ask;
use crate::shared::Shared;
use crate::text::check_copy;
use crate::{Class, Server};

/// An open transaction, as a body sees it: a SeaORM connection, whose nested `begin` is a
/// savepoint.
///
/// The body cannot commit it or roll it back, and text that would is refused. Every error of a
/// statement is recorded. After an error that ends the transaction nothing more is sent, and that
/// error is returned again, so neither the retry nor the result depends on what the body makes of
/// an error.
///
/// **Do not use the pool itself inside a body**: its statements are not part of the transaction,
/// are applied once for each attempt, and wait for a second connection while this one is held.
///
/// Functions that take `&DatabaseTransaction` cannot be called with a `Tx`; make them generic over
/// [`ConnectionTrait`]. `SchemaManager` takes SeaORM's own connections only: send DDL with
/// [`execute_unprepared`](ConnectionTrait::execute_unprepared).
///
/// A body cannot end the transaction:
///
/// ```compile_fail,E0507
/// # use sea_orm::{DbErr, TransactionSession};
/// async fn body(tx: &sea_orm_retry::Tx) -> Result<(), DbErr> {
///     tx.commit().await
/// }
/// ```
///
/// ```compile_fail,E0507
/// # use sea_orm::{DbErr, TransactionSession};
/// async fn body(tx: &sea_orm_retry::Tx) -> Result<(), DbErr> {
///     tx.rollback().await
/// }
/// ```
pub struct Tx {
    pub(crate) shared: Arc<Shared>,
    /// 0: the transaction itself, which is only ever lent.
    pub(crate) savepoint: u32,
}

impl Tx {
    /// The server that this transaction runs on.
    pub fn server(&self) -> Server {
        self.shared.frame.version.server
    }

    /// The SQL dialect of the connection.
    pub fn get_database_backend(&self) -> DbBackend {
        if self.server() == Server::Sqlite { DbBackend::Sqlite } else { DbBackend::Postgres }
    }

    /// The number of this attempt in its run; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.shared.before.attempt
    }

    /// Whether an earlier attempt of this run ended unknown and is not settled.
    pub fn earlier_unknown(&self) -> bool {
        self.shared.before.unknown
    }

    /// Whether an earlier attempt of this run ended by a unique violation. An idempotent body can
    /// write its id by a plain INSERT, which costs the server less than one with ON CONFLICT, and
    /// look the id up only if this is true.
    pub fn key_taken(&self) -> bool {
        self.shared.before.key_taken
    }

    /// States that the id of this run is in the database: an earlier attempt, or an earlier run,
    /// has applied the transaction, and this attempt changes nothing. Only in a body that keeps the
    /// contract of [`Runner::run_idempotent`](crate::Runner::run_idempotent); in any other the run
    /// is refused.
    pub fn proved_applied(&self) {
        self.prove(Proof::Applied);
    }

    /// States that no earlier attempt of this run is applied, and none ever will be: the id has
    /// just been written, or a row that every attempt writes is locked and the id is absent. Only
    /// in a body that keeps the contract of
    /// [`Runner::run_idempotent`](crate::Runner::run_idempotent); in any other the run is refused.
    pub fn proved_not_applied(&self) {
        self.prove(Proof::NotApplied);
    }

    fn prove(&self, proof: Proof) {
        let mut record = self.shared.record();
        if self.shared.frame.contract.is_idempotent {
            record.proof = Some(proof);
        } else {
            record.refuse(
                "the body of `run` cannot tell what became of an earlier attempt: use `run_idempotent`",
            );
        }
    }

    /// An error to return from the body, after which the transaction is rolled back and tried again
    /// like after a conflict.
    #[must_use]
    pub fn again(&self, why: &str) -> DbErr {
        self.shared.record().fail((DbErr::Custom(why.to_owned()), Class::Conflict))
    }

    /// The error that has ended this transaction, if any. Every further statement returns it.
    pub fn failure(&self) -> Option<DbErr> {
        self.shared.record().failure.as_ref().map(|(error, _)| error.clone())
    }

    /// Adds rows by `COPY … FROM STDIN`, in the transaction like any other statement; returns their
    /// number. `rows` is all of them, in the format that the statement names.
    ///
    /// # Errors
    ///
    /// The database's. A text that is not one COPY is refused: a semicolon may only end it or be a
    /// quoted character (`DELIMITER ';'`). SQLite has no COPY.
    pub async fn copy_in(&self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        let mut link = self.shared.open(self.savepoint).await?;
        check_copy(statement).map_err(|why| self.shared.record().refuse(why))?;
        let span = self.shared.span(&Statement::from_string(DbBackend::Postgres, statement));
        let answer =
            link.ask(&(statement, rows), |it, (sql, rows)| it.copy_in(sql, rows)).instrument(span).await;
        self.shared.record().answered(self.savepoint, answer)
    }

    async fn ask<T>(&self, statement: &Statement, send: Ask<Statement, T>) -> Result<T, DbErr> {
        let mut link = self.shared.ready(self.savepoint, statement).await?;
        let answer = link.ask(statement, send).instrument(self.shared.span(statement)).await;
        self.shared.record().answered(self.savepoint, answer)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.savepoint > 0 {
            self.shared.abandon(self.savepoint);
        }
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        Tx::get_database_backend(self)
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(&statement, |session, statement| session.execute(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(Tx::get_database_backend(self), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        // Read to the end: an error can come after the first row.
        let first: Ask<_, _> = |session, statement| {
            session.rows(statement).try_fold(None, |first, row| ready(Ok(first.or(Some(row))))).boxed()
        };
        self.ask(&statement, first).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(&statement, |session, statement| session.rows(statement).try_collect().boxed()).await
    }
}
