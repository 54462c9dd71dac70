//! The interface to a pool and its connections. Simulations implement it (feature `testing`).

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::{DbErr, ExecResult, QueryResult, Statement};
use tokio::time::Instant;

use crate::{Class, Failure, Version};

/// Names a transaction on PostgreSQL: its process, and its start in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// The process of its session.
    pub pid: i32,
    /// `xact_start`
    pub started_us: i64,
}

/// The rows of a statement, one by one.
pub type Rows<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

/// One connection, used exclusively. **Dropping it ends what is open on it**: PostgreSQL's and
/// CockroachDB's are closed, SQLite's are rolled back, made writable again, and returned to the
/// pool.
#[async_trait]
pub trait Session: Send {
    /// Sends a text of the runner in one round trip. Returns the first value of the answer, if it
    /// has one.
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr>;
    /// Runs a statement and returns the number of affected rows. Without values it is sent as text
    /// and not kept prepared.
    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr>;
    /// Runs a statement and returns its rows.
    fn rows<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a>;
    /// Runs `COPY … FROM STDIN` with all of its rows; returns their number.
    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr>;
    /// Forgets the prepared statements, here and on the server.
    async fn forget_statements(&mut self) -> Result<(), DbErr>;
    /// Returns the connection to its pool. No transaction may be open on it. With `close`, it is
    /// closed instead.
    fn release(self: Box<Self>, close: bool);
}

/// A pool, or a simulated one.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The server; `None` until it is known, at the latest when the first connection is acquired.
    fn version(&self) -> Option<Version>;
    /// Equal for every handle to the same pool, and different for other pools.
    fn identity(&self) -> usize;
    /// Acquires a connection. With `unnamed`, it sends every statement unnamed.
    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr>;
    /// PostgreSQL: ends the session of a transaction, if the transaction is still open and does not
    /// wait for a standby.
    async fn end_orphan(&self, id: Id) -> Result<(), DbErr>;
}

/// Awaits an answer of the server, at most `within`.
pub(crate) async fn answer<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer.map_err(|error| (error.clone(), Class::of(&error))),
        Err(_) => Err((no_answer(within), Class::Lost)),
    }
}

/// The error of a missed deadline.
pub(crate) fn no_answer(deadline: Duration) -> DbErr {
    // A deadline below 1 ms is not zero.
    let milliseconds = deadline.as_nanos().div_ceil(1_000_000);
    DbErr::Custom(format!("the server did not answer within {milliseconds} ms"))
}

/// A request on a session, with its argument.
pub(crate) type Ask<A, T> = for<'s> fn(&'s mut dyn Session, &'s A) -> BoxFuture<'s, Result<T, DbErr>>;

/// The connection of an attempt, or of a worker between two runs, for one request at a time. A
/// request takes the session and puts it back with the answer. The session is gone if the answer was
/// not awaited, came too late, or says that the connection is lost.
pub(crate) struct Link {
    pub(crate) session: Option<Box<dyn Session>>,
    /// When the session was taken from its pool.
    pub(crate) since: Instant,
    pub(crate) deadline: Duration,
}

impl Link {
    /// Takes the session for a request.
    pub(crate) fn take(&mut self) -> Result<Box<dyn Session>, Failure> {
        self.session.take().ok_or_else(unfinished)
    }

    pub(crate) fn put_back<T>(&mut self, session: Box<dyn Session>, answer: &Result<T, Failure>) {
        if !matches!(answer, Err((_, Class::Lost))) {
            self.session = Some(session);
        }
    }

    /// Sends one request and awaits its answer.
    pub(crate) async fn ask<A, T>(&mut self, what: &A, send: Ask<A, T>) -> Result<T, Failure> {
        let mut session = self.take()?;
        let answer = answer(self.deadline, send(session.as_mut(), what)).await;
        self.put_back(session, &answer);
        answer
    }

    /// Releases the session, if it is still there.
    pub(crate) fn release(self, close: bool) {
        if let Some(session) = self.session {
            session.release(close);
        }
    }

    /// Sends a text of the runner.
    pub(crate) async fn control(&mut self, sql: &str) -> Result<Option<String>, Failure> {
        self.ask(&sql, |session, sql| session.control(sql)).await
    }
}

/// The error of a request whose future was dropped. Its answer is unread, so the connection is
/// lost.
pub(crate) fn unfinished() -> Failure {
    (DbErr::Custom("a statement of the transaction was begun and not finished".to_owned()), Class::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_deadline_is_not_told_as_zero() {
        for (microseconds, told) in [(300, "within 1 ms"), (20_000, "within 20 ms")] {
            let error = no_answer(Duration::from_micros(microseconds)).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
