//! Streams of rows. A stream that is dropped early is read to its end before the next statement.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, TryStreamExt};
use sea_orm::{DbBackend, DbErr, QueryResult, Statement, StreamTrait};
use tokio::sync::OwnedMutexGuard;
use tracing::{Instrument, Span};

use crate::record::OwnedRows;
use crate::{Link, Tx, answer};

/// The rows of a statement of a [`Tx`]. While it is open no other statement can be sent.
pub struct TxStream<'a> {
    /// `None` once it is read to its end.
    rows: Option<OwnedRows>,
    tx: &'a Tx,
}

impl StreamTrait for Tx {
    type Stream<'a> = TxStream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        Tx::get_database_backend(self)
    }

    fn stream_raw<'a>(&'a self, statement: Statement) -> BoxFuture<'a, Result<Self::Stream<'a>, DbErr>> {
        Box::pin(async move {
            let link = self.shared.ready(self.savepoint, &statement).await?;
            let span = self.shared.span(&statement);
            self.shared.record().streaming = true;
            Ok(TxStream { rows: Some(rows(link, statement, span)), tx: self })
        })
    }
}

/// The rows of a statement, up to the first error. The stream holds the connection.
fn rows(mut link: OwnedMutexGuard<Link>, statement: Statement, span: Span) -> OwnedRows {
    let rows = async_stream::try_stream! {
        let mut session = link.take()?;
        let mut rows = session.rows(&statement);
        let end = loop {
            match answer(link.deadline, rows.try_next()).instrument(span.clone()).await {
                Ok(Some(row)) => yield row,
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        drop(rows);
        link.put_back(session, &end);
        end?;
    };
    rows.boxed()
}

impl Stream for TxStream<'_> {
    type Item = Result<QueryResult, DbErr>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        let end = match ready!(rows.poll_next_unpin(context)) {
            Some(Ok(row)) => return Poll::Ready(Some(Ok(row))),
            Some(Err(failure)) => Err(failure),
            None => Ok(()),
        };
        self.rows = None;
        let mut record = self.tx.shared.record();
        record.streaming = false;
        Poll::Ready(record.answered(self.tx.savepoint, end).err().map(Err))
    }
}

impl Drop for TxStream<'_> {
    fn drop(&mut self) {
        if let Some(rows) = self.rows.take() {
            let mut record = self.tx.shared.record();
            record.streaming = false;
            record.unread = Some((rows, self.tx.savepoint));
        }
    }
}
