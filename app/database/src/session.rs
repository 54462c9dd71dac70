//! What every session is told before its first statement.
//!
//! Isolation is SERIALIZABLE by default, for what is autocommitted, and a COMMIT is answered when it
//! is durable (CockroachDB has no setting for less). The timeouts bound what
//! a transaction can hold whose client is gone: a half-open link is otherwise noticed by PostgreSQL after two hours.
//! Servers differ in the settings they know (CockroachDB v20.1 has no idle-in-transaction timeout), so each is
//! offered once, by the probe, and what is refused is left out of all other sessions. Those that are younger are offered
//! where `version()` says that they are known.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{Options, Purpose, Server};

/// Settings of newer CockroachDB, and the version since which each is known.
const NEWER: [((u32, u32), &str); 2] = [
    // Tables that are locked against schema changes would refuse IMPORT.
    ((25, 3), "SET create_table_with_schema_locked = off"),
    // A statement that has returned holds its locks, as in every version before. v26.2 buffers writes by default.
    ((25, 2), "SET kv_transaction_buffered_writes_enabled = off"),
];

/// Opens `crdb_internal`, which v26.1 closes by default.
const INTERNALS: ((u32, u32), &str) = ((25, 4), "SET allow_unsafe_internals = on");

/// Major and minor of CockroachDB, as its `version()` says; `None` where that is another server, or does not say.
pub(crate) fn cockroach_version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("CockroachDB ")?.split(' ').find_map(|word| word.strip_prefix('v'))?;
    let (major, rest) = number.split_once('.')?;
    let minor = rest.split(['.', '-']).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Statements that set up one session, together one round trip. `version` is the server's own.
pub(crate) fn settings(server: Server, version: &str, options: &Options) -> Vec<String> {
    let mut settings = vec![
        isolation(server).to_owned(),
        // Plain integers are milliseconds, and all that v20.x takes.
        format!("SET statement_timeout = {}", millis(options.statement_timeout)),
        "SET idle_in_transaction_session_timeout = 30000".to_owned(),
    ];
    let internals = options.internals.then_some(INTERNALS);
    let known = cockroach_version(version).unwrap_or_default();
    let newer = NEWER.into_iter().chain(internals).filter(|(since, _)| *since <= known);
    settings.extend(newer.map(|(_, setting)| setting.to_owned()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_settings_are_offered_where_they_are_known() {
        let options = Options { internals: true, ..Options::default() };
        for (version, newer) in [
            ("CockroachDB CCL v20.2.0-pre (x86_64-unknown-linux-gnu, built …)", 0),
            ("CockroachDB OSS v22.1.0-alpha.20220215 (…)", 0),
            ("CockroachDB CCL v25.2.7 (…)", 1),
            ("CockroachDB CCL v25.3-beta.1 (…)", 2),
            ("CockroachDB CCL v26.2.7 (…)", 3),
            ("CockroachDB CCL (…)", 0),
        ] {
            let offered = settings(Server::Cockroach, version, &options);
            assert_eq!(offered.len(), 3 + newer, "{version}: {offered:?}");
        }
        assert_eq!(cockroach_version("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64"), None);
        let closed = settings(Server::Cockroach, "CockroachDB CCL v26.2.7", &Options::default());
        assert!(!closed.iter().any(|it| it.contains("internals")), "{closed:?}");
    }
}
