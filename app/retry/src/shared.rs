//! The connection of an attempt and its record, shared by the transaction and those nested in it.

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_orm::{DbErr, Statement};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tracing::Span;

use crate::begin::Frame;
use crate::record::{Record, Savepoint};
use crate::session::{no_answer, unfinished};
use crate::state::Before;
use crate::text::check;
use crate::{Class, Link, Observer, Server};

/// The connection of an attempt and its record.
pub(crate) struct Shared {
    pub(crate) frame: Frame,
    pub(crate) before: Before,
    link: Arc<tokio::sync::Mutex<Link>>,
    record: Mutex<Record>,
    answer_deadline: Duration,
    observers: Vec<Arc<dyn Observer>>,
}

fn savepoint_name(number: u32) -> String {
    format!("sea_orm_retry_{number}")
}

impl Shared {
    pub(crate) fn new(frame: Frame, before: Before, link: Link, observers: Vec<Arc<dyn Observer>>) -> Self {
        let answer_deadline = link.deadline;
        let link = Arc::new(tokio::sync::Mutex::new(link));
        Self { frame, before, link, record: Mutex::default(), answer_deadline, observers }
    }

    /// The span in which a statement is awaited.
    pub(crate) fn span(&self, statement: &Statement) -> Span {
        let spans = self.observers.iter().map(|observer| observer.statement_began(statement));
        spans.fold(Span::none(), |first, span| if first.is_disabled() { span } else { first })
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the body: undoes what it left open, and takes back its connection and record. The
    /// connection is gone if a task of the body still uses it.
    pub(crate) async fn finish(&self) -> (Link, Record) {
        self.drain().await;
        let mut link = Link { session: None, since: Instant::now(), deadline: self.answer_deadline };
        if let Ok(mut held) = self.link.clone().try_lock_owned() {
            self.tidy(&mut held, true).await;
            std::mem::swap(&mut *held, &mut link);
        }
        let over = Some((DbErr::Custom("the transaction is over".to_owned()), Class::Other));
        let over = Record { failure: over, ..Record::default() };
        let mut record = std::mem::replace(&mut *self.record(), over);
        if link.session.is_none() {
            record.fail(unfinished());
        }
        (link, record)
    }

    /// The connection for one statement at a savepoint (0: the transaction itself), if the
    /// statement may be sent.
    pub(crate) async fn ready(
        &self,
        savepoint: u32,
        statement: &Statement,
    ) -> Result<OwnedMutexGuard<Link>, DbErr> {
        let link = self.open(savepoint).await?;
        let mut record = self.record();
        if let Some(why) = too_many_parameters(self.frame.version.server, statement) {
            return record.answered(savepoint, Err((DbErr::Custom(why), Class::Driver)));
        }
        match check(self.frame.version.server, self.frame.writes, &statement.sql) {
            Ok(changes_session) => record.session_changed |= changes_session,
            Err(why) => {
                let refused = format!("refused inside a transaction: {why}: {}", statement.sql);
                return Err(record.refuse(refused));
            }
        }
        Ok(link)
    }

    /// The connection, after dropped savepoints are undone, if a statement may be sent at the
    /// savepoint.
    pub(crate) async fn open(&self, savepoint: u32) -> Result<OwnedMutexGuard<Link>, DbErr> {
        let link = self.tidied().await?;
        self.record().permit(savepoint)?;
        Ok(link)
    }

    /// The connection, in its turn. A stream that began meanwhile has it until it ends.
    async fn tidied(&self) -> Result<OwnedMutexGuard<Link>, DbErr> {
        self.drain().await;
        let mut link = loop {
            self.record().not_streaming()?;
            let turn = tokio::time::timeout(self.answer_deadline, self.link.clone().lock_owned());
            if let Ok(link) = turn.await {
                break link;
            }
        };
        self.tidy(&mut link, false).await;
        Ok(link)
    }

    /// Reads the rest of a dropped stream, which may hold an error.
    async fn drain(&self) {
        let Some((rows, savepoint)) = self.record().unread.take() else { return };
        let to_its_end = rows.try_for_each(|_| ready(Ok(())));
        let read = tokio::time::timeout(self.answer_deadline, to_its_end).await;
        let read = read.unwrap_or_else(|_| Err((no_answer(self.answer_deadline), Class::Lost)));
        let _ = self.record().answered(savepoint, read);
    }

    /// Undoes the savepoints whose handles were dropped, or `every` one. Detects that SQLite has
    /// ended the transaction.
    async fn tidy(&self, link: &mut Link, every: bool) {
        if self.record().failure.is_some() {
            return;
        }
        let may_be_closed = std::mem::take(&mut self.record().may_be_closed);
        if may_be_closed && self.frame.version.server == Server::Sqlite && is_closed(link).await {
            return self.record().closed_by_itself();
        }
        while let Some(number) = { self.record().to_undo(every) } {
            let name = savepoint_name(number);
            let undone =
                link.control(&format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")).await;
            let mut record = self.record();
            if let Err(failure) = undone {
                record.not_undone(failure);
                return;
            }
            record.undone();
        }
    }

    /// Begins a savepoint inside another (0: the transaction itself); returns its number.
    pub(crate) async fn begin_savepoint(&self, inside: u32) -> Result<u32, DbErr> {
        let mut link = self.open(inside).await?;
        if !self.frame.contract.is_transaction {
            let why = "there is no transaction to nest in: each statement of this run is one of its own";
            return Err(self.record().refuse(why));
        }
        let number = self.record().savepoints_begun + 1;
        let begun = link.control(&format!("SAVEPOINT {}", savepoint_name(number))).await;
        let mut record = self.record();
        record.answered(inside, begun)?;
        record.savepoints_begun = number;
        record.savepoints.push(Savepoint { number, failure: None, dropped: false });
        Ok(number)
    }

    /// Releases a savepoint. After an error in it, rolls it back and returns that error.
    pub(crate) async fn release_savepoint(&self, number: u32) -> Result<(), DbErr> {
        match self.open(number).await {
            Ok(mut link) => {
                let released = link.control(&format!("RELEASE SAVEPOINT {}", savepoint_name(number))).await;
                let mut record = self.record();
                if let Err(failure) = released {
                    return Err(record.not_undone(failure));
                }
                record.savepoints.pop();
                Ok(())
            }
            Err(first) => {
                self.rollback_savepoint(number).await?;
                Err(first)
            }
        }
    }

    /// Rolls a savepoint back, with the dropped ones inside it.
    pub(crate) async fn rollback_savepoint(&self, number: u32) -> Result<(), DbErr> {
        self.abandon(number);
        let _link = self.tidied().await?;
        match &self.record().failure {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Marks a savepoint as dropped, so that it is undone before the next statement.
    pub(crate) fn abandon(&self, number: u32) {
        if let Some(it) = self.record().savepoints.iter_mut().find(|it| it.number == number) {
            it.dropped = true;
        }
    }
}

/// SQLite: whether the transaction has ended. The driver does not report it; inside a transaction
/// BEGIN is a harmless error.
async fn is_closed(link: &mut Link) -> bool {
    link.control("BEGIN").await.is_ok() && link.control("ROLLBACK").await.is_ok()
}

/// Why a statement exceeds the protocol's limit of parameters.
fn too_many_parameters(server: Server, statement: &Statement) -> Option<String> {
    let max = if server == Server::Sqlite { 32_766 } else { 65_535 };
    let count = statement.values.as_ref().map_or(0, |values| values.0.len());
    (count > max).then(|| {
        format!(
            "a statement has {count} parameters, and {server} takes {max}: split it, for example into several inserts"
        )
    })
}
