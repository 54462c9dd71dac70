//! What the runner needs of a pool and of one connection, and no more. A simulation implements these (feature `testing`).

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sea_orm::{DbErr, ExecResult, QueryResult, Statement};

use crate::Server;

/// How a transaction begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// BEGIN for these, with the text to send.
    Plain {
        /// The whole text, one message.
        sql: String,
        /// Whether the message also asks for the transaction's [`Id`].
        identified: bool,
    },
    /// CockroachDB: at the server's present, a fixed time that takes no locks.
    AtPresent,
    /// SQLite: for reading. Nothing can be written until the connection is given back.
    QueryOnly,
}

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

/// One connection that nobody else uses. **Dropping it ends what is open on it**: PostgreSQL's and CockroachDB's are closed,
/// SQLite's are rolled back and returned to the pool.
#[async_trait]
pub trait Session: Send {
    /// Asks for `version()`.
    async fn version(&mut self) -> Result<String, DbErr>;
    /// Begins a transaction, in one round trip (two for [`Begin::AtPresent`]).
    async fn begin(&mut self, begin: &Begin) -> Result<Option<Id>, DbErr>;
    /// Sends transaction control.
    async fn control(&mut self, sql: &str) -> Result<(), DbErr>;
    /// Runs a statement for its count of rows.
    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr>;
    /// Runs a text without parameters.
    async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr>;
    /// Runs a statement for its first row.
    async fn query_one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr>;
    /// Runs a statement for all its rows.
    async fn query_all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr>;
    /// Runs a statement for its rows, one by one.
    fn stream<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a>;
    /// Runs `COPY … FROM STDIN` with all of its rows; returns their number.
    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr>;
    /// Forgets the prepared statements, here and on the server.
    async fn forget_statements(&mut self) -> Result<(), DbErr>;
    /// SQLite: whether a transaction is still open, which an error can have ended.
    async fn is_in_transaction(&mut self) -> Result<bool, DbErr>;
    /// Returns the connection to its pool. No transaction may be open on it. With `close`, it is closed instead.
    fn release(self: Box<Self>, close: bool);
}

/// A pool, or a pretended one.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The server, where it is known without asking.
    fn server(&self) -> Option<Server>;
    /// The same for every handle to the same pool, and for no other pool.
    fn identity(&self) -> usize;
    /// Takes a connection, opening one where none is idle. With `unnamed`, it sends every statement unnamed.
    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr>;
    /// PostgreSQL: ends the session of a transaction, if the transaction is still open and does not wait for a standby.
    async fn end_orphan(&self, id: Id) -> Result<(), DbErr>;
}
