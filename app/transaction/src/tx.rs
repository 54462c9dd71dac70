//! What a body holds: it runs statements, and remembers what became of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use database::Server;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::text::refusal;
use crate::{Class, Session};

/// What a body has found out about earlier attempts of its own run, by the statement its contract asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The id is there: an earlier attempt (or an earlier run) has applied this transaction. This attempt changes nothing.
    Applied,
    /// The id has just been written, or a row that every attempt writes is locked and the id is absent: no earlier
    /// attempt is applied, and none ever will be.
    Dead,
}

/// An open transaction, as a body sees it: a [`ConnectionTrait`], so that every SeaORM statement runs on it.
///
/// It has no way to begin, commit or roll back, and text that would is refused. It records every error of a statement;
/// after the first it sends nothing more and repeats that error. So neither the retry nor the outcome depends on what
/// the body makes of an error.
///
/// ```
/// # use sea_orm::{ConnectionTrait, DbErr};
/// async fn body(tx: &transaction::Tx) -> Result<(), DbErr> {
///     tx.execute_unprepared("SELECT 1").await.map(drop)
/// }
/// ```
///
/// A body cannot end the transaction:
///
/// ```compile_fail,E0599
/// # use sea_orm::{ConnectionTrait, DbErr, TransactionSession};
/// async fn body(tx: &transaction::Tx) -> Result<(), DbErr> {
///     tx.commit().await
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use sea_orm::{ConnectionTrait, DbErr, TransactionSession};
/// async fn body(tx: &transaction::Tx) -> Result<(), DbErr> {
///     tx.rollback().await
/// }
/// ```
///
/// nor begin one inside it:
///
/// ```compile_fail,E0599
/// # use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
/// async fn body(tx: &transaction::Tx) -> Result<(), DbErr> {
///     tx.begin().await.map(drop)
/// }
/// ```
pub struct Tx {
    server: Server,
    answer_deadline: Duration,
    before: Before,
    session: tokio::sync::Mutex<Box<dyn Session>>,
    record: Mutex<Record>,
}

/// What an attempt may know of those before it.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// Which attempt it is; the first is 1.
    pub(crate) attempt: u32,
    /// Whether one of them ended unknown and nothing has been found out about it yet.
    pub(crate) unknown: bool,
    /// Whether one of them ended because a key was taken.
    pub(crate) key_taken: bool,
}

/// What became of an attempt's statements.
#[derive(Default)]
pub(crate) struct Record {
    /// The first error, and what it means.
    pub(crate) failure: Option<(DbErr, Class)>,
    /// What the body found out about earlier attempts.
    pub(crate) earlier: Option<Earlier>,
    /// How many statements were answered well.
    pub(crate) answered: u32,
    /// Between a statement's start and its end. Still set when its future was dropped.
    in_flight: bool,
}

impl Record {
    fn fail(&mut self, error: DbErr, class: Class) -> DbErr {
        self.failure.get_or_insert((error, class)).0.clone()
    }

    /// A statement whose future was dropped has an unread answer on its way: the connection is as good as lost.
    fn look_for_unfinished(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            let error = DbErr::Custom("a statement of the transaction was begun and not finished".to_owned());
            self.fail(error, Class::Lost);
        }
    }
}

impl Tx {
    pub(crate) fn new(
        server: Server,
        session: Box<dyn Session>,
        answer_deadline: Duration,
        before: Before,
    ) -> Self {
        let session = tokio::sync::Mutex::new(session);
        Self { server, answer_deadline, before, session, record: Mutex::default() }
    }

    /// The session, and what became of its statements.
    pub(crate) fn into_parts(self) -> (Box<dyn Session>, Record) {
        let mut record = self.record.into_inner().unwrap_or_else(PoisonError::into_inner);
        record.look_for_unfinished();
        (self.session.into_inner(), record)
    }

    /// Which server this transaction runs on.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }

    /// Which attempt of its run this is; the first is 1. For a body whose quick way may fail where a slower one does not.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.before.attempt
    }

    /// Whether an earlier attempt of this run ended unknown and nothing has been found out about it yet.
    #[must_use]
    pub fn earlier_unknown(&self) -> bool {
        self.before.unknown
    }

    /// Whether an earlier attempt of this run was refused because a key was taken (unique_violation). An idempotent body may
    /// so write its id by a plain INSERT, which asks the server for less than one with ON CONFLICT, and look at the id
    /// here.
    #[must_use]
    pub fn key_taken(&self) -> bool {
        self.before.key_taken
    }

    /// Says what the body has found out about earlier attempts. Only an idempotent body can, by its contract; see
    /// [`Runner::run_idempotent`](crate::Runner::run_idempotent).
    pub fn settle(&self, earlier: Earlier) {
        self.record().earlier = Some(earlier);
    }

    /// Adds rows by `COPY … FROM STDIN`, in the transaction like any other statement, and answers with how many those
    /// were. `rows` is all of them, in the format that the statement names: they are kept to be sent again where the
    /// transaction is tried again.
    ///
    /// # Errors
    ///
    /// The database's. SQLite has no COPY.
    pub async fn copy_in(&self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        let mut session = self.ready(statement).await?;
        self.answer(session.copy_in(statement, rows)).await
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, for one statement; unless an earlier one failed or this one may not be sent.
    async fn ready(&self, sql: &str) -> Result<tokio::sync::MutexGuard<'_, Box<dyn Session>>, DbErr> {
        let session = self.session.lock().await;
        let mut record = self.record();
        record.look_for_unfinished();
        if let Some((error, _)) = &record.failure {
            return Err(error.clone());
        }
        if let Some(reason) = refusal(self.server, sql) {
            let error = DbErr::Custom(format!("refused inside a transaction: {reason}: {sql}"));
            return Err(record.fail(error, Class::Other));
        }
        record.in_flight = true;
        Ok(session)
    }

    /// Waits for a statement's answer and records it.
    async fn answer<T>(&self, asked: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let answer = tokio::time::timeout(self.answer_deadline, asked).await;
        let mut record = self.record();
        record.in_flight = false;
        match answer {
            Ok(Ok(answer)) => {
                record.answered += 1;
                Ok(answer)
            }
            Ok(Err(error)) => {
                let class = Class::of(&error);
                Err(record.fail(error, class))
            }
            Err(_) => Err(record.fail(no_answer(self.answer_deadline), Class::Lost)),
        }
    }
}

/// The error of a deadline of our own.
pub(crate) fn no_answer(deadline: Duration) -> DbErr {
    DbErr::Custom(format!("the server did not answer within {} ms", deadline.as_millis()))
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        match self.server {
            Server::Sqlite => DbBackend::Sqlite,
            Server::Postgres | Server::Cockroach => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut session = self.ready(&statement.sql).await?;
        self.answer(session.execute(&statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut session = self.ready(sql).await?;
        self.answer(session.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut session = self.ready(&statement.sql).await?;
        self.answer(session.query_one(&statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut session = self.ready(&statement.sql).await?;
        self.answer(session.query_all(&statement)).await
    }
}
