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
    let room = room(probe).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the limits cannot be seen");
        None
    });
    let Some(Room { of, most, free }) = room.filter(|room| room.free < i64::from(wanted)) else {
        return (wanted, None);
    };
    let few = u32::try_from(free).unwrap_or(0).max(1);
    if of == SERVER {
        // Taking all of them to be told so would keep everybody out.
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

/// How [`CONNECTION_LIMITS`] calls the limit of all.
const SERVER: &str = "server";

/// The limit that leaves least.
struct Room {
    of: String,
    most: i64,
    /// The connections that can be had, this one included.
    free: i64,
}

async fn room(probe: &mut PgConnection) -> Result<Option<Room>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(CONNECTION_LIMITS)).fetch_all(probe).await?;
    let mut least: Option<Room> = None;
    for row in rows {
        let (of, most, used): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let free = most - used;
        if least.as_ref().is_none_or(|least| free < least.free) {
            least = Some(Room { of, most, free });
        }
    }
    Ok(least)
}
