//! The runner's side of a session: each request meets its fate.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use sea_orm::{DbErr, ExecResult, Statement};
use sea_orm_retry::testing::{Rows, Session};
use sqlx::postgres::PgQueryResult;
use tokio::time::Instant;

use super::{LAST, World};
use crate::error::{broken, sql_error};
use crate::fate::Fate;
use crate::request::{Begin, Request, decode, verb};
use crate::server::{Answer, State};

pub(super) struct Client {
    world: World,
    who: usize,
    broken: bool,
    given_back: bool,
    probing: bool,
    /// Set while an open transaction must be rolled back.
    failed_at: Option<Instant>,
}

impl Client {
    pub(super) fn new(world: World, who: usize) -> Self {
        Self { world, who, broken: false, given_back: false, probing: false, failed_at: None }
    }

    async fn ask(&mut self, request: Request) -> Result<Answer, DbErr> {
        if request.gives_up() {
            self.check_no_pause_since_failure();
        } else if self.failed_at.is_some() {
            let violation = format!("{request:?} was sent after the first error");
            self.world.lock().store.violations.push(violation);
        }
        let answer = self.send(request).await;
        if answer.is_err() && self.world.lock().store.is_open(self.who) {
            self.failed_at = Some(Instant::now());
        }
        answer
    }

    async fn send(&mut self, request: Request) -> Result<Answer, DbErr> {
        if self.broken {
            return Err(broken());
        }
        let fate = self.world.fate(verb(&request), Some(&request));
        self.broken = !matches!(fate, Fate::Well | Fate::Refused { .. });
        match fate {
            Fate::Well => {
                let answer = self.world.handled(self.who, &request).await;
                self.told(answer)
            }
            Fate::CutBefore => Err(broken()),
            Fate::CutAfter => {
                self.world.in_background(self.who, request, Duration::ZERO);
                Err(broken())
            }
            Fate::Late(after) => {
                self.world.in_background(self.who, request, after);
                Err(broken())
            }
            Fate::Silent => std::future::pending().await,
            Fate::NoAnswer => {
                self.world.in_background(self.who, request, Duration::ZERO);
                std::future::pending().await
            }
            Fate::Refused { code, applied } => self.refused(request, code, applied).await,
        }
    }

    /// `applied`: executes it nevertheless.
    async fn refused(
        &mut self,
        request: Request,
        code: &'static str,
        applied: bool,
    ) -> Result<Answer, DbErr> {
        if applied && let Err(other) = self.world.handled(self.who, &request).await {
            return self.told(Err(other));
        }
        let mut world = self.world.lock();
        if code.starts_with("57P") || code == "25P03" {
            self.broken = true;
            world.store.end(self.who);
        } else if code == "13" {
            // An open transaction must be ended.
            self.failed_at = world.store.is_open(self.who).then(Instant::now);
            world.store.roll_back_by_itself(self.who);
        } else if !applied {
            world.store.fail(self.who, &request);
            if matches!(code, "40001" | "40P01" | "CR000") {
                world.store.give_up(self.who);
            }
        }
        Err(sql_error(code))
    }

    fn told(&mut self, answer: Result<Answer, &'static str>) -> Result<Answer, DbErr> {
        answer.map_err(|code| {
            if code == "gone" {
                self.broken = true;
                return broken();
            }
            sql_error(code)
        })
    }

    fn check_no_pause_since_failure(&mut self) {
        if self.failed_at.take().is_some_and(|at| at != Instant::now()) {
            self.world.lock().store.violations.push("locks were held during a pause".to_owned());
        }
    }

    async fn run(&mut self, statement: &Statement) -> Result<(), DbErr> {
        let answer = self.ask(decode(statement)).await?;
        LAST.set(answer);
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.given_back {
            self.check_no_pause_since_failure();
            self.world.orphan(self.who);
        }
    }
}

#[async_trait]
impl Session for Client {
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        let request = match sql {
            // SQLite's check for an open transaction: BEGIN, then ROLLBACK.
            "BEGIN" if self.world.lock().store.is_open(self.who) => return Err(sql_error("1")),
            "BEGIN" => {
                self.probing = true;
                return Ok(None);
            }
            "ROLLBACK" if std::mem::take(&mut self.probing) => return Ok(None),
            present if present.contains("cluster_logical_timestamp") => return Ok(Some("1".to_owned())),
            begin if begin.contains("BEGIN") => {
                if self.world.lock().sent.is_some() {
                    self.world.lock().texts.push(begin.to_owned());
                }
                Request::Begin(Begin::read(begin))
            }
            "COMMIT" | "COMMIT; PRAGMA query_only = OFF" => Request::Commit,
            "ROLLBACK" | "ROLLBACK; PRAGMA query_only = OFF" => Request::Rollback,
            "SAVEPOINT cockroach_restart" => Request::Savepoint,
            "RELEASE SAVEPOINT cockroach_restart" => Request::Release,
            "ROLLBACK TO SAVEPOINT cockroach_restart" => Request::RollbackTo,
            "SELECT pg_logical_emit_message(true, 'sea-orm-retry', ''); COMMIT" => Request::CommitLogged,
            "SELECT pg_logical_emit_message(true, 'sea-orm-retry', '')" => Request::Wait,
            nested if nested.contains("SAVEPOINT sea_orm_retry_") => Request::nested(nested),
            other => return Err(DbErr::Custom(format!("unknown to the server: {other}"))),
        };
        self.ask(request).await?;
        let id = self.world.lock().store.id(self.who);
        Ok(sql.contains("pg_backend_pid").then(|| format!("{} {}", id.pid, id.started_us)))
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.run(statement).await.map(|()| PgQueryResult::default().into())
    }

    fn rows<'a>(&'a mut self, statement: &'a Statement) -> Rows<'a> {
        let error = self.run(statement).map(|answer| answer.err().map(Err));
        futures_util::stream::once(error).filter_map(std::future::ready).boxed()
    }

    async fn forget_statements(&mut self) -> Result<(), DbErr> {
        Ok(())
    }

    async fn copy_in(&mut self, statement: &str, _: &[u8]) -> Result<u64, DbErr> {
        Err(DbErr::Custom(format!("unknown to the server: {statement}")))
    }

    fn release(mut self: Box<Self>, close: bool) {
        if close {
            return;
        }
        self.given_back = true;
        let mut world = self.world.lock();
        if self.broken {
            world.store.violations.push("a broken connection was returned".to_owned());
        }
        if !matches!(world.store.backends[self.who].state, State::Idle | State::Ended) {
            world.store.violations.push("a connection was returned with an open transaction".to_owned());
        }
        world.idle.push(self.who);
    }
}
