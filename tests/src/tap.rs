//! A tap on the wire between the runner and a real database: it keeps what is sent, and loses answers on purpose. It can also send
//! another statement instead, to play a server of another version.

use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::database::{Database, Server};
use sea_orm::{DbErr, ExecResult, QueryResult, RuntimeErr, Statement, sqlx};
use sea_orm_retry::{Begin, Id, Policy, Pool, Rows, Runner, Session, Sessions};

/// What becomes of a COMMIT, or of a statement that inserts by itself, whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It reached the server: the transaction is applied.
    AfterCommit,
    /// It did not: the transaction is not applied.
    BeforeCommit,
}

/// A database's sessions, tapped. Clones share what they keep.
#[derive(Clone, Debug)]
pub struct Tap {
    database: Database,
    rewrite: fn(&str) -> String,
    /// What it says of its version instead of its own word.
    version: Option<&'static str>,
    wire: Arc<Mutex<Wire>>,
}

#[derive(Debug, Default)]
struct Wire {
    sent: Vec<Statement>,
    /// The texts of BEGIN.
    begun: Vec<String>,
    losses: VecDeque<Loss>,
    /// The statement to panic at begins so.
    panics_at: Option<&'static str>,
}

impl Tap {
    /// Taps a database; nothing is lost yet.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), rewrite: str::to_owned, version: None, wire: Arc::default() }
    }

    /// Sends BEGIN, and statements with parameters, as this rewrites them.
    #[must_use]
    pub fn rewriting(self, rewrite: fn(&str) -> String) -> Self {
        Self { rewrite, ..self }
    }

    /// Says that it is another version: what `version()` answers.
    #[must_use]
    pub fn claiming(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Loses the answers of the next COMMITs and inserts outside transactions, one each.
    #[must_use]
    pub fn losing(self, losses: &[Loss]) -> Self {
        self.wire().losses.extend(losses);
        self
    }

    /// Panics instead of sending a statement that begins so, as the driver does where it cannot decode an answer.
    #[must_use]
    pub fn panicking_at(self, verb: &'static str) -> Self {
        self.wire().panics_at = Some(verb);
        self
    }

    /// Which server it is on.
    #[must_use]
    pub fn server(&self) -> Server {
        self.database.server
    }

    /// A runner whose sessions are these.
    #[must_use]
    pub fn runner(&self, policy: Policy) -> Runner {
        Runner::on(self.clone(), policy)
    }

    /// What was sent so far, BEGIN and COMMIT included.
    #[must_use]
    pub fn sent(&self) -> Vec<Statement> {
        self.wire().sent.clone()
    }

    /// The texts of BEGIN so far, as they were to be sent.
    #[must_use]
    pub fn begun(&self) -> Vec<String> {
        self.wire().begun.clone()
    }

    /// The first words of what was sent, one a statement.
    #[must_use]
    pub fn verbs(&self) -> Vec<String> {
        let verb = |sql: &str| sql.split([' ', ';']).next().unwrap_or_default().to_owned();
        self.wire().sent.iter().map(|statement| verb(&statement.sql)).collect()
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a statement; answers with the one that is sent.
    fn pass(&self, statement: &Statement) -> Statement {
        self.keep(statement.clone());
        Statement { sql: (self.rewrite)(&statement.sql), ..statement.clone() }
    }

    fn text(&self, sql: &str) {
        let backend = self.database.connection.get_database_backend();
        self.keep(Statement::from_string(backend, sql));
    }

    fn keep(&self, statement: Statement) {
        let panics = self.wire().panics_at.is_some_and(|verb| statement.sql.starts_with(verb));
        if panics {
            // Without the hook, which would print it.
            resume_unwind(Box::new(format!("at {}, on purpose", statement.sql)));
        }
        self.wire().sent.push(statement);
    }
}

#[async_trait::async_trait]
impl Sessions for Tap {
    fn server(&self) -> Option<Server> {
        // One that claims to be another is asked.
        self.version.is_none().then_some(self.database.server)
    }

    fn identity(&self) -> usize {
        Pool::new(&self.database.connection).identity()
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let session = Pool::new(&self.database.connection).acquire(unnamed).await?;
        Ok(Box::new(TappedSession { session, tap: self.clone(), open: false }))
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        Pool::new(&self.database.connection).end_orphan(id).await
    }
}

struct TappedSession {
    session: Box<dyn Session>,
    tap: Tap,
    /// Whether a transaction has begun.
    open: bool,
}

#[async_trait::async_trait]
impl Session for TappedSession {
    async fn version(&mut self) -> Result<String, DbErr> {
        match self.tap.version {
            Some(version) => Ok(version.to_owned()),
            None => self.session.version().await,
        }
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Option<Id>, DbErr> {
        let high = matches!(begin, Begin::Plain { sql, .. } if sql.contains("PRIORITY HIGH"));
        self.tap.text(if high { "BEGIN PRIORITY HIGH" } else { "BEGIN" });
        self.open = true;
        let Begin::Plain { sql, identified } = begin else { return self.session.begin(begin).await };
        self.tap.wire().begun.push(sql.clone());
        let sent = Begin::Plain { sql: (self.tap.rewrite)(sql), identified: *identified };
        self.session.begin(&sent).await
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbErr> {
        // One that writes to the log first is a COMMIT nevertheless.
        let commits = sql.ends_with("COMMIT");
        self.tap.text(if commits { "COMMIT" } else { sql });
        self.open = !commits && sql != "ROLLBACK";
        let loss = if commits { self.tap.wire().losses.pop_front() } else { None };
        if loss != Some(Loss::BeforeCommit) {
            self.session.control(sql).await?;
        }
        loss.map_or(Ok(()), |_| Err(lost()))
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.session.execute(&self.tap.pass(statement)).await
    }

    async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        self.tap.text(sql);
        self.session.execute_unprepared(sql).await
    }

    async fn query_one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let passed = self.tap.pass(statement);
        let commits = !self.open && statement.sql.contains("INSERT INTO");
        let loss = if commits { self.tap.wire().losses.pop_front() } else { None };
        let answer =
            if loss == Some(Loss::BeforeCommit) { None } else { self.session.query_one(&passed).await? };
        if loss.is_some() { Err(lost()) } else { Ok(answer) }
    }

    async fn query_all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.session.query_all(&self.tap.pass(statement)).await
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        self.tap.text(statement);
        self.session.copy_in(statement, rows).await
    }

    fn stream<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        self.tap.wire().sent.push(statement.clone());
        self.session.stream(statement)
    }

    async fn forget_statements(&mut self) -> Result<(), DbErr> {
        self.session.forget_statements().await
    }

    async fn is_in_transaction(&mut self) -> Result<bool, DbErr> {
        self.session.is_in_transaction().await
    }

    fn release(self: Box<Self>, close: bool) {
        self.session.release(close);
    }
}

/// What the driver says when the connection breaks.
fn lost() -> DbErr {
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(broken))))
}
