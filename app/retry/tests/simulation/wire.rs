//! The network between the runner and the pretended server: what is lost, late, refused or never answered, drawn from a
//! seed or told in advance.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm::{DbErr, ExecResult, Statement};
use sea_orm_retry::Server;
use sea_orm_retry::{Id, Rows, Session, Sessions, Version};
use sqlx::postgres::PgQueryResult;
use tokio::time::{Instant, sleep};

use crate::error::{broken, sql_error};
use crate::fate::{Fate, draw};
use crate::request::{Begin, Request, decode, verb};
use crate::server::{Answer, Handled, State, Store};

thread_local! {
    /// The answer to the statement that has just ended: the driver's own types cannot be made by hand.
    static LAST: Cell<Answer> = const { Cell::new(Answer { rows: 0, value: 0 }) };
}

/// The answer to the last statement.
pub(crate) fn last() -> Answer {
    LAST.get()
}

/// The server and the network before it. Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    rng: ChaCha8Rng,
    /// How many of a thousand requests meet trouble.
    trouble: u32,
    /// Fates told in advance: of the next request with this verb.
    told: VecDeque<(&'static str, Fate)>,
    /// Fates told in advance: of the request with this number, the acquiring of connections included; the first is 0.
    pub(crate) planned: BTreeMap<usize, Fate>,
    requests: usize,
    idle: Vec<usize>,
    /// What was sent, where somebody wants to know.
    sent: Option<Vec<String>>,
    /// From when on the standby is away, and when it is back.
    standby_away: Option<(Instant, Option<Instant>)>,
    /// What `version()` says, where that matters.
    pub(crate) version: Option<&'static str>,
    /// The texts of BEGIN.
    pub(crate) texts: Vec<String>,
}

impl Inner {
    /// Has the server see whether its standby is there.
    pub(crate) fn see_standby(&mut self) {
        let now = Instant::now();
        let away =
            |(from, until): &(Instant, Option<Instant>)| *from <= now && until.is_none_or(|it| now < it);
        self.store.has_standby = !self.standby_away.as_ref().is_some_and(away);
        if self.store.has_standby {
            self.store.replicate();
        }
    }
}

impl World {
    pub(crate) fn new(kind: Server, seed: u64, trouble: u32) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            store: Store::new(kind),
            rng: ChaCha8Rng::seed_from_u64(seed),
            trouble,
            told: VecDeque::new(),
            planned: BTreeMap::new(),
            requests: 0,
            idle: Vec::new(),
            sent: None,
            standby_away: None,
            version: None,
            texts: Vec::new(),
        })))
    }

    /// A world without chance, that keeps what is sent.
    pub(crate) fn told(kind: Server, fates: impl IntoIterator<Item = (&'static str, Fate)>) -> Self {
        let world = Self::new(kind, 0, 0);
        world.lock().told.extend(fates);
        world.lock().sent = Some(Vec::new());
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the standby away after a while, for a while or for ever.
    pub(crate) fn lose_standby(&self, after: Duration, back_after: Option<Duration>) {
        let from = Instant::now() + after;
        self.lock().standby_away = Some((from, back_after.map(|back| from + back)));
    }

    pub(crate) fn sent(&self) -> Vec<String> {
        self.lock().sent.clone().unwrap_or_default()
    }

    fn fate(&self, verb: &'static str, request: Option<&Request>) -> Fate {
        let mut world = self.lock();
        if let Some(sent) = &mut world.sent {
            sent.push(verb.to_owned());
        }
        let number = world.requests;
        world.requests += 1;
        if let Some(fate) = world.planned.get(&number) {
            return *fate;
        }
        if world.told.front().is_some_and(|(at, _)| *at == verb) {
            return world.told.pop_front().map_or(Fate::Well, |(_, fate)| fate);
        }
        let trouble = world.trouble;
        if trouble == 0 || world.rng.random_range(0..1000) >= trouble {
            return Fate::Well;
        }
        let kind = world.store.kind;
        draw(&mut world.rng, kind, request)
    }

    /// Carries a request out as soon as no lock stands in its way; gives up where two wait for each other.
    async fn handled(&self, who: usize, request: &Request) -> Result<Answer, &'static str> {
        let mut pause = Duration::from_millis(1);
        let mut patience = 8;
        loop {
            match self.now(who, request) {
                Handled::Done(answer) => return answer,
                Handled::Blocked { by_orphan: true } => {}
                Handled::Blocked { by_orphan: false } if patience == 0 => {
                    let code = if self.lock().store.kind == Server::Sqlite { "5" } else { "40P01" };
                    self.lock().store.fail(who, request);
                    return Err(code);
                }
                Handled::Blocked { by_orphan: false } => patience -= 1,
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn now(&self, who: usize, request: &Request) -> Handled {
        let mut world = self.lock();
        world.see_standby();
        let handled = world.store.handle(who, request);
        if let Handled::Done(Err(code)) = &handled
            && *code != "gone"
        {
            world.store.fail(who, request);
        }
        handled
    }

    fn in_background(&self, who: usize, request: Request, after: Duration) {
        if after.is_zero() && matches!(self.now(who, &request), Handled::Done(_)) {
            return;
        }
        let world = self.clone();
        tokio::spawn(async move {
            sleep(after).await;
            let _ = world.handled(who, &request).await;
        });
    }

    /// Nobody is at the other end of a session any more; the server notices at once, soon or late.
    fn orphan(&self, who: usize) {
        let mut world = self.lock();
        if world.store.backends[who].state == State::Ended {
            return;
        }
        world.store.backends[who].orphaned = true;
        // Where nothing is left to chance, as late as can be.
        let after =
            if world.trouble == 0 { 60_000 } else { [0, 0, 50, 3_000, 60_000][world.rng.random_range(0..5)] };
        if after == 0 {
            return world.store.end(who);
        }
        let later = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            later.lock().store.end(who);
        });
    }
}

#[async_trait]
impl Sessions for World {
    fn version(&self) -> Option<Version> {
        let world = self.lock();
        Some(match (&world.version, world.store.kind) {
            (Some(text), _) => Version::parse(text),
            (None, Server::Cockroach) => Version::parse("CockroachDB OSS v22.1.0"),
            (None, kind) => kind.into(),
        })
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    async fn acquire(&self, _: bool) -> Result<Box<dyn Session>, DbErr> {
        match self.fate("acquire", None) {
            Fate::Refused { code, .. } => return Err(sql_error(code)),
            Fate::Silent | Fate::NoAnswer => std::future::pending().await,
            Fate::CutBefore | Fate::CutAfter | Fate::Late(_) => return Err(broken()),
            Fate::Well => {}
        }
        let mut world = self.lock();
        let who = match world.idle.pop() {
            Some(idle) => idle,
            None => world.store.connect(),
        };
        if world.trouble > 0 && world.rng.random_range(0..200) == 0 {
            // It died in the pool.
            world.store.end(who);
        }
        Ok(Box::new(Client {
            world: self.clone(),
            who,
            broken: false,
            given_back: false,
            probing: false,
            failed_at: None,
        }))
    }

    async fn end_orphan(&self, id: Id) -> Result<(), DbErr> {
        match self.fate("end_orphan", None) {
            Fate::Well => {
                self.lock().store.end_transaction(id);
                Ok(())
            }
            Fate::Silent | Fate::NoAnswer => std::future::pending().await,
            _ => Err(broken()),
        }
    }
}

/// The runner's end of a session.
struct Client {
    world: World,
    who: usize,
    broken: bool,
    given_back: bool,
    /// It has been looked whether a transaction is open, and none was.
    probing: bool,
    /// When the runner was told of an error that left a transaction to be ended.
    failed_at: Option<Instant>,
}

impl Client {
    async fn ask(&mut self, request: Request) -> Result<Answer, DbErr> {
        if request.gives_up() {
            self.no_pause_since_the_failure();
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

    /// The error is true: the request is not carried out; or it is, where the code leaves that open.
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
            // A transaction has to be ended all the same; a statement of its own left nothing.
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

    /// A transaction that failed is given up before anything is waited for.
    fn no_pause_since_the_failure(&mut self) {
        if self.failed_at.take().is_some_and(|at| at != Instant::now()) {
            self.world.lock().store.violations.push("locks were held through a pause".to_owned());
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
            self.no_pause_since_the_failure();
            self.world.orphan(self.who);
        }
    }
}

#[async_trait]
impl Session for Client {
    async fn control(&mut self, sql: &str) -> Result<Option<String>, DbErr> {
        let request = match sql {
            // SQLite: whether a transaction is still open.
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
            world.store.violations.push("a broken connection was given back".to_owned());
        }
        if !matches!(world.store.backends[self.who].state, State::Idle | State::Ended) {
            world.store.violations.push("a connection was given back with a transaction open".to_owned());
        }
        world.idle.push(self.who);
    }
}
