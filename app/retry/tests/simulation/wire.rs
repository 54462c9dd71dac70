//! The simulated network: requests fail by seed or by plan.

mod session;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm::DbErr;
use sea_orm_retry::Server;
use sea_orm_retry::testing::{Id, Session, Sessions, Version};
use tokio::time::{Instant, sleep};

use crate::error::{broken, sql_error};
use crate::fate::{Fate, draw};
use crate::request::Request;
use crate::server::{Answer, Handled, State, Store};
use session::Client;

thread_local! {
    /// The last statement's answer: the driver's result types cannot be constructed.
    static LAST: Cell<Answer> = const { Cell::new(Answer { rows: 0, value: 0 }) };
}

pub(crate) fn last() -> Answer {
    LAST.get()
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    rng: ChaCha8Rng,
    /// Faulty requests per thousand.
    trouble: u32,
    /// The fate of the next request with this verb.
    told: VecDeque<(&'static str, Fate)>,
    /// Fates by the request's number, which counts acquisitions of connections.
    pub(crate) planned: BTreeMap<usize, Fate>,
    requests: usize,
    idle: Vec<usize>,
    sent: Option<Vec<String>>,
    standby_away: Option<(Instant, Option<Instant>)>,
    pub(crate) version: Option<&'static str>,
    pub(crate) texts: Vec<String>,
}

impl Inner {
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

    /// Only planned fates; records the requests.
    pub(crate) fn told(kind: Server, fates: impl IntoIterator<Item = (&'static str, Fate)>) -> Self {
        let world = Self::new(kind, 0, 0);
        world.lock().told.extend(fates);
        world.lock().sent = Some(Vec::new());
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

    /// Waits for locks; fails on a deadlock.
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

    /// The server notices a lost client immediately, soon or late.
    fn orphan(&self, who: usize) {
        let mut world = self.lock();
        if world.store.backends[who].state == State::Ended {
            return;
        }
        world.store.backends[who].orphaned = true;
        // Without randomness: as late as possible.
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
            world.store.end(who);
        }
        Ok(Box::new(Client::new(self.clone(), who)))
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
