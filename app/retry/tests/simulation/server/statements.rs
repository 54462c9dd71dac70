//! Statements: locks, rows, and the check of the books.

use sea_orm_retry::Server;

use super::{Answer, Key, State, Store, Work};
use crate::request::{Begin, Request, Row};

impl Store {
    pub(super) fn run(&mut self, who: usize, request: &Request) -> Result<Answer, &'static str> {
        let rows = |rows| Ok(Answer { rows, value: 0 });
        match *request {
            Request::Insert { id, row, strict } => match self.find(who, id) {
                Some(_) if strict => Err("23505"),
                Some(_) => rows(0),
                None => {
                    self.backends[who].work.rows.push((id, row));
                    rows(1)
                }
            },
            Request::Look { id } => {
                let found = self.find(who, id);
                Ok(Answer {
                    rows: i64::from(found.is_some()),
                    value: found.map_or(0, |row| i64::try_from(row.run).unwrap_or(0)),
                })
            }
            Request::Lock { source, .. } => Ok(Answer { rows: 2, value: self.balance(who, source) }),
            Request::Debit { account, amount } => {
                let balance = self.balance(who, account);
                if balance < amount {
                    return rows(0);
                }
                self.backends[who].work.balances.insert(account, balance - amount);
                rows(1)
            }
            Request::Credit { account, amount } => {
                let balance = self.balance(who, account);
                self.backends[who].work.balances.insert(account, balance + amount);
                rows(1)
            }
            Request::Mark { tag, row } => {
                self.backends[who].work.marks.push((tag, row));
                rows(1)
            }
            Request::Whole { id, row, strict } => {
                let taken = self.find(who, id).is_some();
                // INSERT … SELECT reads its source before it checks the key.
                if self.balance(who, row.source) < row.amount || (taken && !strict) {
                    return rows(0);
                }
                if taken {
                    return Err("23505");
                }
                self.backends[who].work.rows.push((id, row));
                let (source, target) = (self.balance(who, row.source), self.balance(who, row.target));
                self.backends[who]
                    .work
                    .balances
                    .extend([(row.source, source - row.amount), (row.target, target + row.amount)]);
                rows(2)
            }
            Request::Sum => {
                let seen = self.backends[who].snapshot.unwrap_or(self.balances);
                let negative = seen.iter().filter(|balance| **balance < 0).count();
                Ok(Answer { rows: i64::try_from(negative).unwrap_or(i64::MAX), value: seen.iter().sum() })
            }
            _ => Err("42601"),
        }
    }

    fn find(&self, who: usize, id: u64) -> Option<Row> {
        let own = self.backends[who].work.rows.iter().find(|(own, _)| *own == id);
        own.map(|(_, row)| *row).or_else(|| self.rows.get(&id).copied())
    }

    fn balance(&self, who: usize, account: usize) -> i64 {
        self.backends[who].work.balances.get(&account).copied().unwrap_or(self.balances[account])
    }

    pub(super) fn apply(&mut self, who: usize) {
        let work = std::mem::take(&mut self.backends[who].work);
        for (account, balance) in work.balances {
            self.balances[account] = balance;
        }
        for (id, row) in work.rows {
            self.explain(row);
            if !self.has_standby {
                self.not_replicated.push((id, false));
            }
            if self.rows.insert(id, row).is_some() {
                self.violations.push(format!("transfer {id} was applied twice"));
            }
        }
        for (tag, row) in work.marks {
            self.explain(row);
            if !self.has_standby {
                self.not_replicated.push((tag, true));
            }
            if !self.marks.insert(tag) {
                self.violations.push(format!("the body without an id of run {tag} was applied twice"));
            }
        }
        self.check_books();
    }

    fn explain(&mut self, row: Row) {
        self.explained[row.source] -= row.amount;
        self.explained[row.target] += row.amount;
    }

    /// Every balance is explained, and none is negative.
    fn check_books(&mut self) {
        if self.balances != self.explained || self.balances.iter().any(|balance| *balance < 0) {
            self.violations.push(format!("balances {:?}, explained {:?}", self.balances, self.explained));
        }
    }

    /// Returns a session that holds one of the locks.
    pub(super) fn lock_all(&mut self, who: usize, request: &Request) -> Option<usize> {
        let mut keys = match *request {
            Request::Insert { id, .. } => vec![Key::Id(id)],
            Request::Lock { source, target } => vec![Key::Account(source), Key::Account(target)],
            Request::Debit { account, .. } | Request::Credit { account, .. } => vec![Key::Account(account)],
            Request::Whole { id, row, .. } => {
                vec![Key::Id(id), Key::Account(row.source), Key::Account(row.target)]
            }
            Request::Begin(Begin::Write | Begin::WriteOverOrphan) if self.kind == Server::Sqlite => {
                vec![Key::Writer]
            }
            _ => return None,
        };
        if matches!(self.backends[who].state, State::Failed | State::Released) {
            return None;
        }
        if self.kind == Server::Sqlite {
            keys = vec![Key::Writer];
        }
        keys.sort_unstable();
        for key in keys {
            let holder = *self.locks.entry(key).or_insert(who);
            if holder == who {
                continue;
            }
            if !self.backends[who].high || self.backends[holder].high {
                return Some(holder);
            }
            // CockroachDB aborts the lower priority.
            self.locks.retain(|_, it| *it != holder);
            if self.is_open(holder) {
                self.backends[holder].state = State::Doomed;
                self.backends[holder].work = Work::default();
            }
            self.locks.insert(key, who);
        }
        None
    }
}
