//! A pool that loses its connection during COMMIT, before or after the server receives it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DbErr, ExecResult, RuntimeErr, Statement};

use super::{Id, Pool, Rows, Session, Sessions, Version};

/// Loses the answer to the first COMMIT.
pub(super) struct Lossy {
    pool: Pool,
    loss: Arc<Loss>,
}

struct Loss {
    /// Whether the server receives the COMMIT.
    delivered: bool,
    lost: AtomicBool,
}

impl Lossy {
    /// Takes sessions from the connection's pool.
    pub(super) fn new(connection: &DatabaseConnection, delivered: bool) -> Self {
        Self { pool: Pool::new(connection), loss: Arc::new(Loss { delivered, lost: AtomicBool::new(false) }) }
    }
}

#[async_trait]
impl Sessions for Lossy {
    fn version(&self) -> Option<Version> {
        self.pool.version()
    }

    fn identity(&self) -> usize {
        self.pool.identity()
    }

    async fn acquire(&self, unnamed: bool) -> Result<Box<dyn Session>, DbErr> {
        let session = Some(self.pool.acquire(unnamed).await?);
        Ok(Box::new(LossySession { session, loss: Arc::clone(&self.loss) }))
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        self.pool.end_orphan(id).await
    }
}

struct LossySession {
    /// `None` after the connection was lost.
    session: Option<Box<dyn Session>>,
    loss: Arc<Loss>,
}

impl LossySession {
    fn session(&mut self) -> Result<&mut Box<dyn Session>, DbErr> {
        self.session.as_mut().ok_or_else(lost)
    }
}

fn lost() -> DbErr {
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(reset).into()))
}

#[async_trait]
impl Session for LossySession {
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        // Releasing CockroachDB's restart savepoint commits.
        let ends = sql.ends_with("COMMIT") && !sql.starts_with("BEGIN");
        let commits = ends || sql == "RELEASE SAVEPOINT cockroach_restart";
        if !commits || self.loss.lost.swap(true, Ordering::Relaxed) {
            return self.session()?.control(sql).await;
        }
        if self.loss.delivered {
            self.session()?.control(sql).await?;
        }
        self.session = None;
        Err(lost())
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.session()?.execute(statement).await
    }

    fn rows<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        match self.session.as_mut() {
            Some(session) => session.rows(statement),
            None => Box::pin(futures_util::stream::once(async { Err(lost()) })),
        }
    }

    async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, DbErr> {
        self.session()?.copy_in(statement, rows).await
    }

    async fn forget_statements(&mut self) -> Result<(), DbErr> {
        self.session()?.forget_statements().await
    }

    fn release(self: Box<Self>, close: bool) {
        if let Some(session) = self.session {
            session.release(close);
        }
    }
}
