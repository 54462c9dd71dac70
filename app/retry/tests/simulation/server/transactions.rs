//! BEGIN, COMMIT, ROLLBACK and savepoints.

use sea_orm_retry::Server;

use super::{Answer, Backend, State, Store};
use crate::request::Begin;

impl Store {
    pub(super) fn begin(&mut self, who: usize, how: &Begin) -> Result<Answer, &'static str> {
        self.in_state(who, State::Idle)?;
        let snapshot = (*how == Begin::Snapshot).then_some(self.balances);
        let high = *how == Begin::WriteOverOrphan && self.kind == Server::Cockroach;
        self.begun += 1;
        let begun = self.begun;
        self.backends[who] = Backend { state: State::Open, high, snapshot, begun, ..Backend::default() };
        Ok(Answer::default())
    }

    pub(super) fn in_state(&self, who: usize, state: State) -> Result<Answer, &'static str> {
        if self.backends[who].state == state { Ok(Answer::default()) } else { Err("25001") }
    }

    pub(super) fn rollback_to(&mut self, who: usize) -> Result<Answer, &'static str> {
        let backend = &mut self.backends[who];
        if !matches!(backend.state, State::Open | State::Doomed | State::Failed) {
            return Err("25P01");
        }
        let (high, begun) = (backend.high, backend.begun);
        *backend = Backend { state: State::Open, high, begun, ..Backend::default() };
        Ok(Answer::default())
    }

    pub(super) fn release(&mut self, who: usize) -> Result<Answer, &'static str> {
        self.in_state(who, State::Open)?;
        self.apply(who);
        self.backends[who].state = State::Released;
        Ok(Answer::default())
    }

    pub(super) fn commit(&mut self, who: usize, logged: bool) -> Result<Answer, &'static str> {
        match self.backends[who].state {
            State::Idle | State::Ended => return Err("25P01"),
            State::Open if self.backends[who].given_up => {}
            State::Open if self.would_wait(who, logged) => {
                self.backends[who].waiting = Some(Answer::default());
                return Ok(Answer::default());
            }
            State::Open => self.apply(who),
            State::Doomed | State::Failed | State::Released => {}
        }
        self.close(who, State::Idle);
        Ok(Answer::default())
    }

    pub(super) fn rollback(&mut self, who: usize) -> Result<Answer, &'static str> {
        if self.backends[who].state == State::Idle {
            return Err("25P01");
        }
        self.close(who, State::Idle);
        Ok(Answer::default())
    }

    pub(super) fn nest(&mut self, who: usize, number: u32) -> Result<Answer, &'static str> {
        self.in_state(who, State::Open)?;
        let backend = &mut self.backends[who];
        backend.saved.push((number, backend.work.clone()));
        Ok(Answer::default())
    }

    pub(super) fn keep(&mut self, who: usize, number: u32) -> Result<Answer, &'static str> {
        self.in_state(who, State::Open)?;
        self.backends[who].saved.retain(|(saved, _)| *saved < number);
        Ok(Answer::default())
    }

    pub(super) fn undo(&mut self, who: usize, number: u32) -> Result<Answer, &'static str> {
        let backend = &mut self.backends[who];
        match backend.state {
            State::Doomed => return Err("40001"),
            State::Open | State::Failed => {}
            State::Idle | State::Released | State::Ended => return Err("3B001"),
        }
        let at = backend.saved.iter().position(|(saved, _)| *saved == number).ok_or("3B001")?;
        backend.work = backend.saved[at].1.clone();
        backend.saved.truncate(at);
        backend.state = State::Open;
        Ok(Answer::default())
    }
}
