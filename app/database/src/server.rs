//! Connects to a server: a probe session detects it, then a pool is set up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use crate::lifetime::{self, Lifetimes};
use crate::pooler::{self, Pooler};
use crate::tls::Tls;
use crate::{Address, ConnectError, Database, Options, Server, connection_limit, session};

/// A connection idle for longer is pinged before use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);

/// The longest wait for a ping's answer. A vanished node never answers; a new connection is faster.
const PING_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn open(
    wire: &PgConnectOptions,
    tls: &Tls,
    address: &Address,
    options: &Options,
) -> Result<Database, ConnectError> {
    let refused = |error: sqlx::Error| ConnectError::of(address, tls, &error);
    tls.check()?;
    // PgBouncer refuses unknown startup parameters, such as extra_float_digits.
    let wire = wire.clone().log_statements(log::LevelFilter::Debug).extra_float_digits(None);
    let First { mut probe, wire, server, version, direct } = first(&wire).await.map_err(refused)?;
    let is_standby = server == Server::Postgres && is_standby(&mut probe).await.map_err(refused)?;
    if server == Server::Cockroach && !exists(&mut probe, &address.database()).await.map_err(refused)? {
        return Err(ConnectError::NoDatabase { address: address.clone() });
    }
    let pooler =
        if direct { Pooler::None } else { pooler::find(&mut probe, &wire, server).await.map_err(refused)? };
    if pooler == Pooler::Transactions {
        return Err(ConnectError::Pooled { address: address.clone() });
    }
    // CockroachDB v20.2 ignores options.
    if server == Server::Postgres && pooler == Pooler::Sessions && wire.get_options().is_some() {
        return Err(ConnectError::OptionsLost { address: address.clone() });
    }
    let settings =
        session::accepted(&mut probe, session::settings(server, &version, options)).await.map_err(refused)?;
    let (connections, limited) =
        connection_limit::available(&mut probe, &wire, server, options.max_connections).await;
    let _ = probe.close().await;
    let pool = pool(wire, settings, connections, options);
    Ok(Database { connection: pool.into(), server, version, is_standby, pooler, limited })
}

struct First {
    probe: PgConnection,
    wire: PgConnectOptions,
    server: Server,
    version: String,
    /// Whether no pooler is in between.
    direct: bool,
}

/// A startup setting: if it is in effect, the startup message has reached the server itself.
const PROBE_SETTING: (&str, &str) = ("idle_in_transaction_session_timeout", "30000");

async fn first(wire: &PgConnectOptions) -> Result<First, sqlx::Error> {
    let marked = wire.clone().options([PROBE_SETTING]);
    let (mut probe, used) = match PgConnection::connect_with(&marked).await {
        Ok(probe) => (probe, &marked),
        // A pooler refuses options, or the server does not know the setting.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("08P01" | "42704" | "22023")) =>
        {
            (PgConnection::connect_with(wire).await?, wire)
        }
        Err(error) => return Err(error),
    };
    let version: String = ask(&mut probe, "SELECT version()").await?.try_get(0)?;
    let server = if version.contains("CockroachDB") { Server::Cockroach } else { Server::Postgres };
    let holds = std::ptr::eq(used, &marked)
        && match server {
            Server::Cockroach => {
                ask(&mut probe, &format!("SHOW {}", PROBE_SETTING.0)).await?.try_get::<String, _>(0)?
                    == PROBE_SETTING.1
            }
            _ => {
                let sql = format!(
                    "SELECT source = 'client' FROM pg_catalog.pg_settings WHERE name = '{}'",
                    PROBE_SETTING.0
                );
                ask(&mut probe, &sql).await?.try_get(0)?
            }
        };
    let wire = if holds { marked } else { wire.clone() };
    Ok(First { probe, wire, server, version, direct: holds })
}

/// One row of a query, without a prepared statement, which a pooler would leave to other clients.
pub(crate) async fn ask(session: &mut PgConnection, sql: &str) -> Result<PgRow, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(session).await
}

async fn is_standby(probe: &mut PgConnection) -> Result<bool, sqlx::Error> {
    ask(probe, "SELECT pg_catalog.pg_is_in_recovery()").await?.try_get(0)
}

/// CockroachDB opens sessions for databases that do not exist. Since v26.1 its catalog may be
/// cached, so a missing database is confirmed by SET.
async fn exists(probe: &mut PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_database WHERE datname = current_database())";
    if ask(probe, sql).await?.try_get(0)? {
        return Ok(true);
    }
    if database.is_empty() {
        return Ok(false);
    }
    let sql = format!("SET database = '{}'", database.replace('\'', "''"));
    match session::apply(probe, &sql).await {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => Ok(false),
        Err(error) => Err(error),
    }
}

fn pool(wire: PgConnectOptions, settings: String, connections: u32, options: &Options) -> PgPool {
    let lifetimes = Arc::new(Lifetimes::new(connections));
    PgPoolOptions::new()
        .max_connections(connections)
        .max_lifetime(lifetime::MAX)
        // Sends nothing to the server.
        .after_release(move |_, about| {
            let draw = |most| rand::rng().random_range(Duration::ZERO..=most);
            let ends = lifetimes.ends(about.age, Instant::now(), draw);
            Box::pin(std::future::ready(Ok(!ends)))
        })
        .idle_timeout(Duration::from_secs(10 * 60))
        // Bounds the pool's silent reconnecting. The caller has its own limit, and reports each
        // retry.
        .acquire_timeout(options.connect_timeout)
        // No ping on each acquire: the pool pings on release, and a first statement on a broken
        // connection is retried. Idle connections are pinged, because a lost node breaks many at
        // once.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for < PING_AFTER_IDLE {
                    return Ok(true);
                }
                let answer = tokio::time::timeout(PING_MAX, connection.ping()).await;
                Ok(matches!(answer, Ok(Ok(()))))
            })
        })
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move { session::apply(connection, &settings).await })
        })
        .connect_lazy_with(wire)
}
