//! Session settings, applied before the first statement.
//!
//! Autocommitted statements are SERIALIZABLE, and a COMMIT is acknowledged when durable
//! (CockroachDB has no weaker setting). Timeouts bound the transaction of a lost client. Servers
//! know different settings, so the probe session tries each, and refused ones are dropped; newer
//! ones are tried only on versions that know them.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{Options, Purpose, Server};

/// CockroachDB settings, and the version that introduced each.
const NEWER: [((u32, u32), &str); 2] = [
    // IMPORT refuses tables that are locked against schema changes.
    ((25, 3), "SET create_table_with_schema_locked = off"),
    // v26.2 buffers writes until COMMIT by default. Without buffering a statement holds its locks
    // once it returns.
    ((25, 2), "SET kv_transaction_buffered_writes_enabled = off"),
];

/// Allows `crdb_internal`, which v26.1 denies by default.
const INTERNALS: ((u32, u32), &str) = ((25, 4), "SET allow_unsafe_internals = on");

/// CockroachDB's major and minor version in its `version()`; `None` for other servers.
pub(crate) fn cockroach_version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("CockroachDB ")?.split(' ').find_map(|word| word.strip_prefix('v'))?;
    let (major, rest) = number.split_once('.')?;
    let minor = rest.split(['.', '-']).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The statements that set up a session. `version`: the server's `version()`.
pub(crate) fn settings(server: Server, version: &str, options: &Options) -> Vec<String> {
    let mut settings = vec![
        isolation(server).to_owned(),
        // Milliseconds: v20.x takes no units.
        format!("SET statement_timeout = {}", millis(options.statement_timeout)),
        "SET idle_in_transaction_session_timeout = 30000".to_owned(),
    ];
    let internals = options.internals.then_some(INTERNALS);
    let known = cockroach_version(version).unwrap_or_default();
    let newer = NEWER.into_iter().chain(internals).filter(|(since, _)| *since <= known);
    settings.extend(newer.map(|(_, setting)| setting.to_owned()));
    if server == Server::Postgres {
        settings.extend([
            // If the default acknowledges a COMMIT before it is durable. Stronger settings than
            // `on` stay.
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'"
                .to_owned(),
            // In seconds, seconds, a count, milliseconds, and milliseconds (PostgreSQL 14).
            "SET tcp_keepalives_idle = 10".to_owned(),
            "SET tcp_keepalives_interval = 5".to_owned(),
            "SET tcp_keepalives_count = 3".to_owned(),
            "SET tcp_user_timeout = 30000".to_owned(),
            "SET client_connection_check_interval = 5000".to_owned(),
        ]);
        if options.purpose == Purpose::Transactions {
            // On a small table the planner prefers a sequential scan, which locks the whole
            // relation under SERIALIZABLE: 5 retries per commit on 300 analysed accounts, 0.06 with
            // an index scan.
            settings.push("SET enable_seqscan = off".to_owned());
        }
    }
    settings
}

/// A hot standby has no serializable snapshots. Its sessions keep this setting after a promotion,
/// so they are read-only: a write fails (25006) and is retried in a new session.
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

/// Applies the settings to a session; returns those that it accepted, as one text.
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
