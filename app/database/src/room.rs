//! How many connections there are to be had: the limits of PostgreSQL's roles, databases and of the server.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::Server;

/// Rows of what is limited, how many connections it takes, and how many of those others have. No limit: no row.
pub const CONNECTION_LIMITS: &str = "\
     SELECT 'role ' || session_user, rolconnlimit::int8, (SELECT count(*) FROM pg_catalog.pg_stat_activity \
       WHERE usename = session_user AND backend_type = 'client backend' AND pid <> pg_backend_pid()) \
     FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper \
     UNION ALL SELECT 'database ' || datname, datconnlimit::int8, (SELECT count(*) FROM pg_catalog.pg_stat_activity \
       WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()) \
     FROM pg_catalog.pg_database WHERE datname = current_database() AND datconnlimit >= 0 \
       AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user) \
     UNION ALL SELECT 'server', current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8, \
       (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())";

/// How many of the connections that are wanted can be had, and why they are fewer, in the server's words.
///
/// Connections that are given back since, or taken by others, are no concern: a pool goes on with those it has.
pub(crate) async fn fitting(
    probe: &mut PgConnection,
    wire: &PgConnectOptions,
    server: Server,
    wanted: u32,
) -> (u32, Option<String>) {
    if server != Server::Postgres || wanted == 1 {
        return (wanted, None);
    }
    match room(probe).await {
        Ok(Some(room)) if room < i64::from(wanted) => {}
        Ok(_) => return (wanted, None),
        Err(error) => {
            tracing::debug!(%error, "the limits cannot be seen");
            return (wanted, None);
        }
    }
    // The server knows better what it lets in, and says why.
    let mut opened = Vec::new();
    let mut refusal = None;
    while opened.len() + 1 < wanted as usize {
        match PgConnection::connect_with(wire).await {
            Ok(session) => opened.push(session),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    let had = u32::try_from(opened.len() + 1).unwrap_or(wanted);
    for session in opened {
        let _ = session.close().await;
    }
    match refusal {
        Some(sqlx::Error::Database(error)) if error.code().as_deref() == Some("53300") => {
            (had, Some(error.message().to_owned()))
        }
        _ => (wanted, None),
    }
}

/// The connections that can be had, this one included.
async fn room(probe: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(CONNECTION_LIMITS)).fetch_all(probe).await?;
    let mut least = None;
    for row in rows {
        let free = row.try_get::<i64, _>(1)? - row.try_get::<i64, _>(2)?;
        least = Some(least.map_or(free, |least: i64| least.min(free)));
    }
    Ok(least)
}
