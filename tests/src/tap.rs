//! A tap on the wire between the runner and a real database: it keeps what is sent, and loses answers on purpose. It can also send
//! another statement instead, to play a server of another version.

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::database::{Database, Server};
use futures_util::{StreamExt, TryStreamExt, stream};
use sea_orm::{DbErr, ExecResult, RuntimeErr, Statement, sqlx};
use sea_orm_retry::{Id, Policy, Pool, Rows, Runner, Session, Sessions, Version};

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
    pool: Pool,
    /// What it says of its version instead of its own word.
    version: Option<&'static str>,
    rewrite: fn(&str) -> String,
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
        Self {
            database: database.clone(),
            pool: Pool::new(&database.connection),
            version: None,
            rewrite: str::to_owned,
            wire: Arc::default(),
        }
    }

    /// Sends BEGIN, and statements with parameters, as this rewrites them.
    #[must_use]
    pub fn rewriting(self, rewrite: fn(&str) -> String) -> Self {
        Self { rewrite, ..self }
    }

    /// Has the server say this in answer to `version()`.
    #[must_use]
    pub fn saying(self, version: &'static str) -> Self {
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
    fn version(&self) -> Option<Version> {
        self.version.map(Version::parse).or_else(|| self.pool.version())
    }

    fn identity(&self) -> usize {
        self.pool.identity()
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let session = self.pool.acquire(unnamed).await?;
        Ok(Box::new(TappedSession { session, tap: self.clone(), open: false, passed: None }))
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        self.pool.end_orphan(id).await
    }
}

struct TappedSession {
    session: Box<dyn Session>,
    tap: Tap,
    /// Whether a transaction has begun.
    open: bool,
    /// The statement whose rows are being read.
    passed: Option<Statement>,
}

#[async_trait::async_trait]
impl Session for TappedSession {
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        // What else is in the message of BEGIN or COMMIT does not end or begin more.
        let verb = match sql.trim_end_matches("; PRAGMA query_only = OFF") {
            commit if commit.ends_with("COMMIT") && !commit.starts_with("BEGIN") => "COMMIT",
            begin if begin.contains("PRIORITY HIGH") => "BEGIN PRIORITY HIGH",
            begin if begin.contains("BEGIN") => "BEGIN",
            other => other,
        };
        self.tap.text(verb);
        let begins = verb.starts_with("BEGIN");
        if begins {
            self.tap.wire().begun.push(sql.to_owned());
        }
        self.open = match verb {
            "COMMIT" | "ROLLBACK" => false,
            _ => self.open || begins,
        };
        let loss = if verb == "COMMIT" { self.tap.wire().losses.pop_front() } else { None };
        if loss == Some(Loss::BeforeCommit) {
            return Err(lost());
        }
        let answer = if begins {
            self.session.control(&(self.tap.rewrite)(sql)).await?
        } else {
            self.session.control(sql).await?
        };
        if loss.is_some() { Err(lost()) } else { Ok(answer) }
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        if statement.values.is_none() {
            self.tap.keep(statement.clone());
            return self.session.execute(statement).await;
        }
        self.session.execute(&self.tap.pass(statement)).await
    }

    fn rows<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        let passed = self.passed.insert(self.tap.pass(statement));
        let commits = !self.open && statement.sql.contains("INSERT INTO");
        let loss = if commits { self.tap.wire().losses.pop_front() } else { None };
        let lost = stream::once(ready(Err(lost())));
        match loss {
            None => self.session.rows(passed),
            Some(Loss::BeforeCommit) => lost.boxed(),
            Some(Loss::AfterCommit) => {
                self.session.rows(passed).try_filter(|_| ready(false)).chain(lost).boxed()
            }
        }
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        self.tap.text(statement);
        self.session.copy_in(statement, rows).await
    }

    async fn forget_statements(&mut self) -> Result<(), DbErr> {
        self.session.forget_statements().await
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
