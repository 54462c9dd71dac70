//! The connection of an attempt and its record, shared by the transaction and those nested in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use sea_orm::DbErr;
use tokio::sync::OwnedMutexGuard;

use crate::record::{Record, Savepoint};
use crate::runner::Contract;
use crate::server::Version;
use crate::stream::Unread;
use crate::text::{Sent, check};
use crate::{Class, Server, Session};

pub(crate) type Slot = Option<Box<dyn Session>>;

/// What an attempt may know of those before it.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// Which attempt it is; the first is 1.
    pub(crate) attempt: u32,
    /// Whether one of them ended unknown and nothing has been found out about it yet.
    pub(crate) unknown: bool,
    /// Whether one of them ended because a key was taken.
    pub(crate) key_taken: bool,
}

/// The connection of an attempt and its record.
pub(crate) struct Shared {
    pub(crate) version: Version,
    pub(crate) contract: Contract,
    pub(crate) writes: bool,
    pub(crate) answer_deadline: Duration,
    pub(crate) before: Before,
    session: Arc<tokio::sync::Mutex<Slot>>,
    record: Mutex<Record>,
    /// A stream that the body dropped before its end.
    unread: Mutex<Option<Unread>>,
}

/// The error of a deadline of our own.
pub(crate) fn no_answer(deadline: Duration) -> DbErr {
    DbErr::Custom(format!("the server did not answer within {} ms", deadline.as_millis()))
}

fn savepoint_name(number: u32) -> String {
    format!("sea_orm_retry_{number}")
}

impl Shared {
    pub(crate) fn new(
        version: Version,
        contract: Contract,
        writes: bool,
        answer_deadline: Duration,
        before: Before,
        session: Box<dyn Session>,
    ) -> Self {
        Self {
            version,
            contract,
            writes,
            answer_deadline,
            before,
            session: Arc::new(tokio::sync::Mutex::new(Some(session))),
            record: Mutex::default(),
            unread: Mutex::default(),
        }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leave_unread(&self, unread: Unread) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }

    /// Ends the body: what it left open is undone, and its connection and record are taken back. The connection is gone where the
    /// body left something running that still uses it.
    pub(crate) async fn finish(&self) -> (Slot, Record) {
        self.drain().await;
        let taken = match self.session.clone().try_lock_owned() {
            Ok(mut slot) => {
                self.record().look_for_unfinished();
                if self.record().failure.is_none() {
                    self.tidy(&mut slot, true).await;
                }
                slot.take()
            }
            Err(_) => {
                self.record().in_flight = true;
                None
            }
        };
        let mut record = std::mem::take(&mut *self.record());
        self.record().over = true;
        record.look_for_unfinished();
        (taken, record)
    }

    /// The connection, for one statement at a savepoint (0: the transaction itself), unless it may not be sent.
    pub(crate) async fn ready(&self, savepoint: u32, sql: &str) -> Result<OwnedMutexGuard<Slot>, DbErr> {
        let slot = self.open(savepoint).await?;
        let mut record = self.record();
        match check(self.version.server, self.writes, sql) {
            Ok(Sent::Plain) => {}
            Ok(Sent::ChangesSession) => record.session_changed = true,
            Err(reason) => {
                let error = DbErr::Custom(format!("refused inside a transaction: {reason}: {sql}"));
                return Err(record.fail(error, Class::Other));
            }
        }
        record.in_flight = true;
        Ok(slot)
    }

    /// The connection, after what was dropped is undone.
    async fn open(&self, savepoint: u32) -> Result<OwnedMutexGuard<Slot>, DbErr> {
        if self.record().streaming {
            let why = "a stream of rows is still open: read it to its end or drop it first";
            return Err(self.record().fail(DbErr::Custom(why.to_owned()), Class::Other));
        }
        self.drain().await;
        let mut slot = self.session.clone().lock_owned().await;
        self.record().look_for_unfinished();
        if self.record().failure.is_none() {
            self.tidy(&mut slot, false).await;
        }
        self.record().permit(savepoint)?;
        if slot.is_none() {
            return Err(DbErr::Custom("the transaction is over".to_owned()));
        }
        Ok(slot)
    }

    /// Reads the rest of a stream that was dropped: an error in it counts.
    async fn drain(&self) {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Unread { mut rows, savepoint }) = unread else { return };
        self.record().in_flight = true;
        let to_its_end = async {
            while let Some(row) = rows.next().await {
                row?;
            }
            Ok(())
        };
        let deadline = self.answer_deadline;
        let lost = || (no_answer(deadline), Class::Lost);
        let read = tokio::time::timeout(deadline, to_its_end).await.unwrap_or_else(|_| Err(lost()));
        let _ = self.answered(savepoint, read);
    }

    /// Undoes the savepoints whose handles were dropped, or `every` one; looks whether SQLite has ended the transaction.
    async fn tidy(&self, slot: &mut Slot, every: bool) {
        let Some(session) = slot.as_mut() else { return };
        let may_be_closed = std::mem::take(&mut self.record().may_be_closed);
        if may_be_closed && self.version.server == Server::Sqlite {
            self.record().in_flight = true;
            let open = self.within(session.is_in_transaction()).await;
            self.record().in_flight = false;
            match open {
                Ok(true) => {}
                Ok(false) => return self.record().closed_by_itself(),
                Err((error, class)) => return drop(self.record().fail(error, class)),
            }
        }
        while let Some(number) = { self.record().to_undo(every) } {
            if self.undo(session.as_mut(), number).await.is_err() {
                return;
            }
        }
    }

    async fn undo(&self, session: &mut dyn Session, number: u32) -> Result<(), DbErr> {
        let name = savepoint_name(number);
        let sql = format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}");
        self.record().in_flight = true;
        let undone = self.within(session.control(&sql)).await;
        let mut record = self.record();
        record.in_flight = false;
        match undone {
            Ok(()) => {
                record.undone();
                Ok(())
            }
            Err((error, class)) => Err(record.not_undone(error, class)),
        }
    }

    /// Begins a savepoint inside another (0: the transaction itself); returns its number.
    pub(crate) async fn begin_savepoint(&self, inside: u32) -> Result<u32, DbErr> {
        let mut slot = self.open(inside).await?;
        if !self.contract.is_transaction() {
            let why = "there is no transaction to nest in: each statement of this run is one of its own";
            return Err(self.record().fail(DbErr::Custom(why.to_owned()), Class::Other));
        }
        let number = self.record().savepoints_begun + 1;
        let sql = format!("SAVEPOINT {}", savepoint_name(number));
        self.control(inside, &mut slot, &sql).await?;
        let mut record = self.record();
        record.savepoints_begun = number;
        record.savepoints.push(Savepoint { number, failure: None, dropped: false });
        Ok(number)
    }

    /// Commits a savepoint into what encloses it. After an error in it, it is undone and that error returned.
    pub(crate) async fn release_savepoint(&self, number: u32) -> Result<(), DbErr> {
        match self.open(number).await {
            Ok(mut slot) => {
                let sql = format!("RELEASE SAVEPOINT {}", savepoint_name(number));
                let session = slot.as_mut().ok_or_else(over)?;
                self.record().in_flight = true;
                let released = self.within(session.control(&sql)).await;
                let mut record = self.record();
                record.in_flight = false;
                match released {
                    Ok(()) => drop(record.savepoints.pop()),
                    Err((error, class)) => return Err(record.not_undone(error, class)),
                }
                Ok(())
            }
            Err(first) => {
                self.rollback_savepoint(number).await?;
                Err(first)
            }
        }
    }

    /// Undoes a savepoint, and those inside it that were dropped.
    pub(crate) async fn rollback_savepoint(&self, number: u32) -> Result<(), DbErr> {
        self.abandon(number);
        self.drain().await;
        let mut slot = self.session.clone().lock_owned().await;
        self.record().look_for_unfinished();
        if self.record().failure.is_none() {
            self.tidy(&mut slot, false).await;
        }
        match &self.record().failure {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Marks a savepoint as dropped: it is undone before the next statement.
    pub(crate) fn abandon(&self, number: u32) {
        if let Some(it) = self.record().savepoints.iter_mut().find(|it| it.number == number) {
            it.dropped = true;
        }
    }

    async fn control(&self, savepoint: u32, slot: &mut Slot, sql: &str) -> Result<(), DbErr> {
        let session = slot.as_mut().ok_or_else(over)?;
        self.record().in_flight = true;
        let answer = self.within(session.control(sql)).await;
        self.answered(savepoint, answer)
    }

    /// Waits for one answer, for a while.
    pub(crate) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, (DbErr, Class)> {
        match tokio::time::timeout(self.answer_deadline, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err((error.clone(), Class::of(&error))),
            Err(_) => Err((no_answer(self.answer_deadline), Class::Lost)),
        }
    }

    /// Records the answer to a statement.
    pub(crate) fn answered<T>(&self, savepoint: u32, answer: Result<T, (DbErr, Class)>) -> Result<T, DbErr> {
        let mut record = self.record();
        record.in_flight = false;
        match answer {
            Ok(answer) => {
                record.answered += 1;
                record.undone = None;
                Ok(answer)
            }
            Err((error, class)) => Err(record.statement_failed(savepoint, error, class)),
        }
    }
}

pub(crate) fn over() -> DbErr {
    DbErr::Custom("the transaction is over".to_owned())
}
