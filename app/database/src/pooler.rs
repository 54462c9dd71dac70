//! Poolers between the program and its server, such as PgBouncer.
//!
//! In session mode a pooler gives a client one of the server's sessions for as long as it stays: all is as without one. In
//! transaction and statement mode the next transaction, or statement, runs in another session: settings and prepared
//! statements are left to other programs, and theirs are met here.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};

use crate::Server;
use crate::server::ask;

/// What stands between a client and the server's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing: the session is the server's own.
    None,
    /// Nothing that shares a session between clients. Whether a pooler in session mode is there cannot be seen.
    Sessions,
    /// A pooler that gives each transaction or statement another session.
    Transactions,
}

/// How long a second session is waited for. A pooler in session mode has none to give while the first one has the only one.
const SECOND_MAX: Duration = Duration::from_secs(2);

/// How often both sessions are asked for the server's process: other clients may take the one that is looked for.
const TIMES: usize = 3;

/// Looks for a pooler that shares sessions: two clients that are both there meet in one session of the server, or one of
/// them in two.
pub(crate) async fn find(
    first: &mut PgConnection,
    wire: &PgConnectOptions,
    server: Server,
) -> Result<Pooler, sqlx::Error> {
    match is_shared(first, wire, server).await {
        Ok(true) => Ok(Pooler::Transactions),
        Ok(false) => Ok(Pooler::Sessions),
        // Statement mode: `transaction blocks not allowed`. Prepared statements of others, or none of one's own.
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
            // The session that was used last is the one that is given next.
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

/// What names a session of the server.
async fn session_of(session: &mut PgConnection, server: Server) -> Result<String, sqlx::Error> {
    ask(session, session_sql(server)).await?.try_get(0)
}

/// How a session asks for its name.
pub(crate) fn session_sql(server: Server) -> &'static str {
    match server {
        Server::Cockroach => "SHOW session_id",
        _ => "SELECT pg_catalog.pg_backend_pid()::text",
    }
}
