//! A tap between the runner and a database: records statements, loses answers, and rewrites
//! statements to play another version.

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::database::{Database, Server};
use futures_util::{StreamExt, TryStreamExt, stream};
use sea_orm::{DbErr, ExecResult, RuntimeErr, Statement, sqlx};
use sea_orm_retry::testing::{Id, Pool, Rows, Session, Sessions, Version};
use sea_orm_retry::{Policy, Runner};

/// What happened to a COMMIT, or an autocommitted INSERT, whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was applied.
    AfterCommit,
    /// It was not applied.
    BeforeCommit,
}

/// A tapped database. Clones share the record.
#[derive(Clone, Debug)]
pub struct Tap {
    database: Database,
    pool: Pool,
    /// Replaces the answer of `version()`.
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
    /// The prefix of the statement to panic at.
    panics_at: Option<&'static str>,
}

impl Tap {
    /// Taps a database, without faults.
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

    /// Rewrites BEGIN and statements with parameters.
    #[must_use]
    pub fn rewriting(self, rewrite: fn(&str) -> String) -> Self {
        Self { rewrite, ..self }
    }

    /// Replaces the answer of `version()`.
    #[must_use]
    pub fn saying(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Loses the answers of the next COMMITs and autocommitted INSERTs, one each.
    #[must_use]
    pub fn losing(self, losses: &[Loss]) -> Self {
        self.wire().losses.extend(losses);
        self
    }

    /// Panics at a statement with this prefix, as the driver does on an answer that it cannot
    /// decode.
    #[must_use]
    pub fn panicking_at(self, verb: &'static str) -> Self {
        self.wire().panics_at = Some(verb);
        self
    }

    /// Its server.
    #[must_use]
    pub fn server(&self) -> Server {
        self.database.server
    }

    /// A runner on the tapped sessions.
    #[must_use]
    pub fn runner(&self, policy: Policy) -> Runner {
        Runner::on(self.clone(), policy)
    }

    /// The statements sent, BEGIN and COMMIT included.
    #[must_use]
    pub fn sent(&self) -> Vec<Statement> {
        self.wire().sent.clone()
    }

    /// The texts of BEGIN.
    #[must_use]
    pub fn begun(&self) -> Vec<String> {
        self.wire().begun.clone()
    }

    /// The first word of each statement.
    #[must_use]
    pub fn verbs(&self) -> Vec<String> {
        let verb = |sql: &str| sql.split([' ', ';']).next().unwrap_or_default().to_owned();
        self.wire().sent.iter().map(|statement| verb(&statement.sql)).collect()
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a statement; returns the one to send.
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
            // Not `panic!`, whose hook would print it.
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
    open: bool,
    /// The statement whose rows are being read.
    passed: Option<Statement>,
}

#[async_trait::async_trait]
impl Session for TappedSession {
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        // Ignores what is sent together with BEGIN or COMMIT.
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

/// The driver's error for a broken connection.
fn lost() -> DbErr {
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(broken))))
}
