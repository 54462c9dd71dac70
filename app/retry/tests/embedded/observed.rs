//! An observer is told of each statement and gives it a span.

use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use sea_orm::{DbBackend, DbErr, Statement, StreamTrait, TransactionSession, TransactionTrait};
use sea_orm_retry::{Observer, Tx};
use tracing::Span;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::lines::Lines;
use crate::{Log, ids, insert};

#[derive(Default)]
struct Statements {
    began: Mutex<Vec<String>>,
    span: Option<fn(&Statement) -> Span>,
}

impl Observer for Statements {
    fn statement_began(&self, statement: &Statement) -> Span {
        self.began.lock().expect("no panic").push(statement.sql.clone());
        self.span.map_or_else(Span::none, |span| span(statement))
    }
}

#[tokio::test]
async fn an_observer_is_told_of_each_statement_and_gives_it_a_span() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_span_events(FmtSpan::ENTER)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let log = Log::new(1).await;
    let first: fn(&Statement) -> Span = |it| tracing::info_span!("first", sql = it.sql);
    let second: fn(&Statement) -> Span = |it| tracing::info_span!("second", sql = it.sql);
    let observers =
        [None, Some(first), Some(second)].map(|span| Arc::new(Statements { span, ..Statements::default() }));
    let runner = observers.iter().fold(log.runner.clone(), |runner, it| runner.observed_by(it.clone()));
    let body = async |tx: &Tx| {
        insert(tx, 1).await?;
        let nested = tx.begin().await?;
        ids(&nested).await?;
        nested.commit().await?;
        let select = Statement::from_string(DbBackend::Sqlite, "SELECT 1");
        tx.stream_raw(select).await?.try_for_each(|_| std::future::ready(Ok::<_, DbErr>(()))).await
    };
    runner.run("three statements", body).await.expect("applied");
    let sent = ["INSERT INTO log VALUES (1)", "SELECT id FROM log ORDER BY id", "SELECT 1"];
    for observer in observers {
        assert_eq!(*observer.began.lock().expect("no panic"), sent);
    }
    let lines = lines.take();
    for sql in sent {
        assert!(lines.lines().any(|line| line.contains("first{") && line.contains(sql)), "{sql}: {lines}");
    }
    assert!(!lines.contains("second{"), "the span of the first observer that has one: {lines}");
}
