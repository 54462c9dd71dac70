//! A simulated server, without the network (`wire`): sessions, row locks, and commits that happen
//! once or not at all.
//!
//! It treats a misbehaving client as real servers do, and records violations: COMMIT of a failed
//! transaction succeeds and applies nothing, and a statement outside a transaction is
//! autocommitted.

mod statements;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};

use crate::request::{Request, Row};
use sea_orm_retry::Server;
use sea_orm_retry::testing::Id;

pub(crate) const ACCOUNTS: usize = 3;
pub(crate) const OPENING: i64 = 100;

/// A row count and a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rows: i64,
    pub(crate) value: i64,
}

pub(crate) enum Handled {
    Done(Result<Answer, &'static str>),
    /// Another session holds a lock. `by_orphan`: that session has no client.
    Blocked {
        by_orphan: bool,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Idle,
    Open,
    /// Aborted; the client does not know yet.
    Doomed,
    /// After an error: only ROLLBACK and ROLLBACK TO work.
    Failed,
    /// Committed by RELEASE: only COMMIT is allowed.
    Released,
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Backend {
    pub(crate) state: State,
    high: bool,
    pub(crate) orphaned: bool,
    snapshot: Option<[i64; ACCOUNTS]>,
    work: Work,
    /// The work before each nested transaction.
    saved: Vec<(u32, Work)>,
    /// After a conflict in a nested transaction, ROLLBACK TO succeeds, and COMMIT applies nothing.
    given_up: bool,
    begun: i64,
    /// A COMMIT's answer, until the standby acknowledges it.
    waiting: Option<Answer>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Work {
    balances: BTreeMap<usize, i64>,
    rows: Vec<(u64, Row)>,
    marks: Vec<(u64, Row)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Account(usize),
    Id(u64),
    Writer,
}

pub(crate) struct Store {
    pub(crate) kind: Server,
    balances: [i64; ACCOUNTS],
    /// The balances that follow from rows and marks.
    explained: [i64; ACCOUNTS],
    pub(crate) rows: BTreeMap<u64, Row>,
    pub(crate) marks: BTreeSet<u64>,
    pub(crate) backends: Vec<Backend>,
    locks: BTreeMap<Key, usize>,
    begun: i64,
    /// Without it, no writing COMMIT is acknowledged.
    pub(crate) has_standby: bool,
    /// Applied, but not on the standby.
    not_replicated: Vec<(u64, bool)>,
    pub(crate) violations: Vec<String>,
}

impl Store {
    pub(crate) fn new(kind: Server) -> Self {
        Self {
            kind,
            balances: [OPENING; ACCOUNTS],
            explained: [OPENING; ACCOUNTS],
            rows: BTreeMap::new(),
            marks: BTreeSet::new(),
            backends: Vec::new(),
            locks: BTreeMap::new(),
            begun: 0,
            has_standby: true,
            not_replicated: Vec::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self) -> usize {
        self.backends.push(Backend::default());
        self.backends.len() - 1
    }

    pub(crate) fn handle(&mut self, who: usize, request: &Request) -> Handled {
        if self.backends[who].state == State::Ended {
            return Handled::Done(Err("gone"));
        }
        if let Some(answer) = self.backends[who].waiting {
            if !self.has_standby {
                return Handled::Blocked { by_orphan: true };
            }
            self.acknowledge(who);
            return Handled::Done(Ok(answer));
        }
        if self.backends[who].state == State::Doomed && !request.gives_up() {
            return Handled::Done(Err("40001"));
        }
        if let Some(by) = self.lock_all(who, request) {
            return Handled::Blocked { by_orphan: self.backends[by].orphaned };
        }
        let answer = match request {
            Request::Begin(how) => self.begin(who, how),
            Request::Savepoint => self.in_state(who, State::Open),
            Request::RollbackTo => self.rollback_to(who),
            Request::Release => self.release(who),
            Request::Commit | Request::CommitLogged => self.commit(who, *request == Request::CommitLogged),
            Request::Rollback => self.rollback(who),
            Request::Nest(number) => self.nest(who, *number),
            Request::Keep(number) => self.keep(who, *number),
            Request::Undo(number) => self.undo(who, *number),
            Request::Wait if !self.has_standby => {
                self.backends[who].waiting = Some(Answer::default());
                Ok(Answer::default())
            }
            Request::Wait => Ok(Answer::default()),
            statement => self.statement(who, statement),
        };
        if self.backends[who].waiting.is_some() {
            return Handled::Blocked { by_orphan: true };
        }
        Handled::Done(answer)
    }

    fn acknowledge(&mut self, who: usize) {
        self.backends[who].waiting = None;
        self.apply(who);
        self.close(who, State::Idle);
    }

    fn would_wait(&self, who: usize, logged: bool) -> bool {
        !self.has_standby && (logged || self.backends[who].work != Work::default())
    }

    pub(crate) fn id(&self, who: usize) -> Id {
        Id { pid: i32::try_from(who).expect("few"), started_us: self.backends[who].begun }
    }

    /// Does nothing if the transaction has ended or waits for the standby.
    pub(crate) fn end_transaction(&mut self, id: Id) {
        let who = usize::try_from(id.pid).expect("named here");
        if self.id(who) == id && self.backends[who].waiting.is_none() {
            self.end(who);
        }
    }

    pub(crate) fn replicate(&mut self) {
        self.not_replicated.clear();
    }

    /// Loses what the standby does not have.
    pub(crate) fn fail_over(&mut self) {
        for (id, is_mark) in std::mem::take(&mut self.not_replicated) {
            if is_mark {
                self.marks.remove(&id);
            } else {
                self.rows.remove(&id);
            }
        }
    }

    fn statement(&mut self, who: usize, request: &Request) -> Result<Answer, &'static str> {
        match self.backends[who].state {
            State::Open => self.run(who, request),
            State::Doomed | State::Failed | State::Released => Err("25P02"),
            State::Idle | State::Ended => {
                let answer = self.run(who, request);
                if answer.is_ok() && self.would_wait(who, false) {
                    self.backends[who].waiting = answer.ok();
                    return answer;
                }
                if answer.is_ok() {
                    self.apply(who);
                }
                self.close(who, State::Idle);
                answer
            }
        }
    }

    fn close(&mut self, who: usize, state: State) {
        self.locks.retain(|_, holder| *holder != who);
        let orphaned = self.backends[who].orphaned;
        self.backends[who] = Backend { state, orphaned, ..Backend::default() };
    }

    pub(crate) fn end(&mut self, who: usize) {
        if self.backends[who].waiting.is_some() {
            // Only the wait ends: the transaction is committed.
            self.acknowledge(who);
        }
        self.close(who, State::Ended);
    }

    pub(crate) fn fail(&mut self, who: usize, request: &Request) {
        match (request, self.kind) {
            (Request::Commit | Request::CommitLogged, Server::Postgres | Server::Cockroach) => {
                self.close(who, State::Idle)
            }
            // SQLite keeps the transaction open.
            _ if self.is_open(who) && self.kind == Server::Sqlite => {}
            _ if self.is_open(who) => self.backends[who].state = State::Failed,
            _ => self.locks.retain(|_, holder| *holder != who),
        }
    }

    pub(crate) fn give_up(&mut self, who: usize) {
        self.backends[who].given_up = !self.backends[who].saved.is_empty();
    }

    /// As SQLite does when the disk is full.
    pub(crate) fn roll_back_by_itself(&mut self, who: usize) {
        self.close(who, State::Idle);
    }

    pub(crate) fn is_open(&self, who: usize) -> bool {
        matches!(self.backends[who].state, State::Open | State::Doomed | State::Failed)
    }
}
