//! What every session is told before its first statement.
//!
//! Isolation is SERIALIZABLE by default, for what is autocommitted, and a COMMIT is answered when it
//! is durable (CockroachDB has no setting for less). The timeouts bound what
//! a transaction can hold whose client is gone: a half-open link is otherwise noticed by PostgreSQL after two hours.
//! Servers differ in the settings they know (CockroachDB v20.1 has no idle-in-transaction timeout), so each is
//! offered once, and what is refused is left out.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{Options, Purpose, Server};

/// Statements that set up one session, together one round trip.
pub(crate) fn settings(server: Server, options: &Options) -> Vec<String> {
    let mut settings = vec![
        isolation(server).to_owned(),
        // Plain integers are milliseconds, and all that v20.x takes.
        format!("SET statement_timeout = {}", millis(options.statement_timeout)),
        "SET idle_in_transaction_session_timeout = 30000".to_owned(),
    ];
    if server == Server::Postgres {
        settings.extend([
            // Where the database's or the user's default is to answer a COMMIT before it is durable. Whoever asks for
            // more than `on`, a standby's answer, keeps it.
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'"
                .to_owned(),
            // Seconds, seconds, a count; milliseconds; milliseconds (PostgreSQL 14).
            "SET tcp_keepalives_idle = 10".to_owned(),
            "SET tcp_keepalives_interval = 5".to_owned(),
            "SET tcp_keepalives_count = 3".to_owned(),
            "SET tcp_user_timeout = 30000".to_owned(),
            "SET client_connection_check_interval = 5000".to_owned(),
        ]);
        if options.purpose == Purpose::Transactions {
            // On a small table the planner prefers a sequential scan, and under SERIALIZABLE that locks the whole
            // relation: 5 retries a commit on 300 analysed accounts, against 0.06 with an index scan.
            settings.push("SET enable_seqscan = off".to_owned());
        }
    }
    settings
}

/// A hot standby has no serializable snapshots. Its sessions stay as they are when it is promoted, so they may write
/// nothing: whoever does is refused (25006), and comes again in a new one.
fn isolation(server: Server) -> &'static str {
    match server {
        Server::Postgres => {
            "SELECT set_config('default_transaction_isolation', \
               CASE WHEN pg_is_in_recovery() THEN 'repeatable read' ELSE 'serializable' END, false), \
             set_config('default_transaction_read_only', \
               CASE WHEN pg_is_in_recovery() THEN 'on' ELSE current_setting('default_transaction_read_only') END, false)"
        }
        _ => "SET default_transaction_isolation = 'serializable'",
    }
}

fn millis(timeout: Option<Duration>) -> u128 {
    timeout.map_or(0, |timeout| timeout.as_millis())
}

/// Offers the settings to a session; answers with one text of those it takes.
pub(crate) async fn accepted(
    session: &mut PgConnection,
    settings: Vec<String>,
) -> Result<String, sqlx::Error> {
    let all = settings.join("; ");
    if apply(session, &all).await.is_ok() {
        return Ok(all);
    }
    session.ping().await?;
    let mut taken = Vec::new();
    for setting in settings {
        match apply(session, &setting).await {
            Ok(()) => taken.push(setting),
            Err(sqlx::Error::Database(error)) => {
                tracing::debug!(%setting, %error, "this server does not know the setting");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(taken.join("; "))
}

/// Sends the settings, in one round trip.
pub(crate) async fn apply(session: &mut PgConnection, settings: &str) -> Result<(), sqlx::Error> {
    session.execute(AssertSqlSafe(settings.to_owned())).await.map(drop)
}
