//! Rows one by one. A stream that is dropped before its end is read to its end before the next statement.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use sea_orm::{DbBackend, DbErr, QueryResult, Statement, StreamTrait};

use crate::record::Failure;
use crate::shared::{Shared, no_answer, over};
use crate::{Class, Tx};

type Rows = BoxStream<'static, Result<QueryResult, Failure>>;

/// A stream that was dropped before its end.
pub(crate) struct Unread {
    pub(crate) rows: Rows,
    pub(crate) savepoint: u32,
}

/// The rows of a statement of a [`Tx`]. While it is open no other statement can be sent.
pub struct TxStream<'a> {
    /// `None` once it is read to its end.
    rows: Option<Rows>,
    shared: Arc<Shared>,
    savepoint: u32,
    tx: PhantomData<&'a Tx>,
}

impl StreamTrait for Tx {
    type Stream<'a> = TxStream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        Tx::get_database_backend(self)
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let shared = Arc::clone(self.shared());
            self.check_parameters(&statement)?;
            let mut slot = shared.ready(self.savepoint(), &statement.sql).await?;
            let deadline = shared.answer_deadline;
            let rows = async_stream::stream! {
                let Some(session) = slot.as_mut() else {
                    yield Err((over(), Class::Other));
                    return;
                };
                let mut rows = session.stream(&statement);
                loop {
                    match tokio::time::timeout(deadline, rows.next()).await {
                        Ok(Some(Ok(row))) => yield Ok(row),
                        Ok(Some(Err(error))) => {
                            let class = Class::of(&error);
                            yield Err((error, class));
                            return;
                        }
                        Ok(None) => return,
                        Err(_) => {
                            yield Err((no_answer(deadline), Class::Lost));
                            return;
                        }
                    }
                }
            };
            {
                let mut record = shared.record();
                // The stream keeps the connection; what is left of it when it is dropped is read later.
                record.in_flight = false;
                record.streaming = true;
            }
            Ok(TxStream { rows: Some(rows.boxed()), shared, savepoint: self.savepoint(), tx: PhantomData })
        })
    }
}

impl Stream for TxStream<'_> {
    type Item = Result<QueryResult, DbErr>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        let row = match rows.poll_next_unpin(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(row) => row,
        };
        Poll::Ready(match row {
            Some(Ok(row)) => Some(Ok(row)),
            Some(Err(failure)) => {
                self.rows = None;
                self.shared.record().streaming = false;
                Some(self.shared.answered(self.savepoint, Err(failure)))
            }
            None => {
                self.rows = None;
                let mut record = self.shared.record();
                record.streaming = false;
                record.answered += 1;
                None
            }
        })
    }
}

impl Drop for TxStream<'_> {
    fn drop(&mut self) {
        if let Some(rows) = self.rows.take() {
            self.shared.record().streaming = false;
            self.shared.leave_unread(Unread { rows, savepoint: self.savepoint });
        }
    }
}
