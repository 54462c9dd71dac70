//! The number of available connections, by PostgreSQL's limits on roles, databases and the server.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::Server;

/// One row per limit: its name, the allowed connections, and those that others use.
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

/// The number of available connections, up to `wanted`, and the server's message if it is smaller.
///
/// Later changes do not matter: a pool goes on with the connections it has.
pub(crate) async fn available(
    probe: &mut PgConnection,
    wire: &PgConnectOptions,
    server: Server,
    wanted: u32,
) -> (u32, Option<String>) {
    if server != Server::Postgres || wanted == 1 {
        return (wanted, None);
    }
    let limit = tightest(probe).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the limits cannot be seen");
        None
    });
    let Some(Limit { of, most, free }) = limit.filter(|limit| limit.free < i64::from(wanted)) else {
        return (wanted, None);
    };
    let few = u32::try_from(free).unwrap_or(0).max(1);
    if of == SERVER {
        // Trying would take all connections of the server.
        return (few, Some(format!("the {of} has {most}, and {free} of them are free")));
    }
    let mut opened = Vec::new();
    let refusal = loop {
        if opened.len() + 1 >= wanted as usize {
            break None;
        }
        match PgConnection::connect_with(wire).await {
            Ok(session) => opened.push(session),
            Err(error) => break Some(error),
        }
    };
    let had = u32::try_from(opened.len() + 1).unwrap_or(few);
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

/// The server's limit in [`CONNECTION_LIMITS`].
const SERVER: &str = "server";

/// The tightest limit.
struct Limit {
    of: String,
    most: i64,
    /// Available connections, including this one.
    free: i64,
}

async fn tightest(probe: &mut PgConnection) -> Result<Option<Limit>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(CONNECTION_LIMITS)).fetch_all(probe).await?;
    let mut least: Option<Limit> = None;
    for row in rows {
        let (of, most, used): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let free = most - used;
        if least.as_ref().is_none_or(|least| free < least.free) {
            least = Some(Limit { of, most, free });
        }
    }
    Ok(least)
}
