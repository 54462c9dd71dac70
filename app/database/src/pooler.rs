//! Detects a pooler, such as PgBouncer. In transaction and statement mode the server's session may
//! change, so settings and prepared statements leak between clients.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};

use crate::Server;
use crate::server::ask;

/// The pooler between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// None: the session is the server's own.
    None,
    /// None, or one in session mode: the two cannot be told apart.
    Sessions,
    /// One in transaction or statement mode.
    Transactions,
}

/// The longest wait for a second session: a pooler in session mode may have only one.
const SECOND_MAX: Duration = Duration::from_secs(2);

/// How often to compare the sessions: other clients may take the one in question.
const TIMES: usize = 3;

/// Detects a shared session: two connected clients share one, or one client gets two.
pub(crate) async fn find(
    first: &mut PgConnection,
    wire: &PgConnectOptions,
    server: Server,
) -> Result<Pooler, sqlx::Error> {
    match is_shared(first, wire, server).await {
        Ok(true) => Ok(Pooler::Transactions),
        Ok(false) => Ok(Pooler::Sessions),
        // Statement mode (`transaction blocks not allowed`), or prepared statements lost to another
        // client.
        Err(sqlx::Error::Database(error)) if is_of_pooler(error.code().as_deref()) => {
            Ok(Pooler::Transactions)
        }
        Err(error) => Err(error),
    }
}

fn is_of_pooler(code: Option<&str>) -> bool {
    matches!(code, Some("08P01" | "26000" | "42P05"))
}

async fn is_shared(
    first: &mut PgConnection,
    wire: &PgConnectOptions,
    server: Server,
) -> Result<bool, sqlx::Error> {
    ask_nothing(first, "BEGIN").await?;
    ask_nothing(first, "ROLLBACK").await?;
    let of_first = session_of(first, server).await?;
    let seconds = tokio::time::timeout(SECOND_MAX, async {
        let mut second = PgConnection::connect_with(wire).await?;
        let mut shared = false;
        for _ in 0..TIMES {
            // A pooler hands out the session that was used last.
            let of_second = session_of(&mut second, server).await?;
            shared = of_second == of_first || session_of(first, server).await? != of_first;
            if shared {
                break;
            }
        }
        let _ = second.close().await;
        Ok(shared)
    });
    match seconds.await {
        Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("53300") => Ok(false),
        Ok(answer) => answer,
        Err(_) => Ok(false),
    }
}

async fn ask_nothing(session: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(session).await.map(drop)
}

async fn session_of(session: &mut PgConnection, server: Server) -> Result<String, sqlx::Error> {
    ask(session, session_sql(server)).await?.try_get(0)
}

pub(crate) fn session_sql(server: Server) -> &'static str {
    match server {
        Server::Cockroach => "SHOW session_id",
        _ => "SELECT pg_catalog.pg_backend_pid()::text",
    }
}
