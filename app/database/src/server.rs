//! Connecting to a server: one probing session that asks who answers, then a pool set up for that server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use crate::lifetime::{self, Lifetimes};
use crate::pooler::{self, Pooler};
use crate::tls::Tls;
use crate::{Address, ConnectError, Database, Options, Server, room, session};

/// For how long an idle connection is taken to be as it was.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long it is waited for then: a node that vanished never answers, and a new connection takes less.
const PING_MAX: Duration = Duration::from_secs(2);

/// Connects, asks who answers, and sets up a pool.
pub(crate) async fn open(
    wire: &PgConnectOptions,
    tls: &Tls,
    address: &Address,
    options: &Options,
) -> Result<Database, ConnectError> {
    let refused = |error: sqlx::Error| ConnectError::of(address, tls, &error);
    tls.check()?;
    // PgBouncer refuses every parameter of a start that it does not know, and this one is nobody's.
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
    // CockroachDB v20.2 knows no options.
    if server == Server::Postgres && pooler == Pooler::Sessions && wire.get_options().is_some() {
        return Err(ConnectError::OptionsLost { address: address.clone() });
    }
    let settings =
        session::accepted(&mut probe, session::settings(server, &version, options)).await.map_err(refused)?;
    let (connections, limited) = room::fitting(&mut probe, &wire, server, options.max_connections).await;
    let _ = probe.close().await;
    let pool = pool(wire, settings, connections, options);
    Ok(Database { connection: pool.into(), server, version, is_standby, pooler, limited })
}

/// The first session, and what it has said.
struct First {
    probe: PgConnection,
    /// With what further sessions are opened.
    wire: PgConnectOptions,
    server: Server,
    version: String,
    /// Whether the session is the server's own, and no pooler's.
    direct: bool,
}

/// A setting that is asked for at the start: where it holds, what was sent has reached the server.
const MARK: (&str, &str) = ("idle_in_transaction_session_timeout", "30000");

async fn first(wire: &PgConnectOptions) -> Result<First, sqlx::Error> {
    let marked = wire.clone().options([MARK]);
    let (mut probe, used) = match PgConnection::connect_with(&marked).await {
        Ok(probe) => (probe, &marked),
        // A pooler that takes no options; a server that does not know the setting.
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
                ask(&mut probe, &format!("SHOW {}", MARK.0)).await?.try_get::<String, _>(0)? == MARK.1
            }
            _ => {
                let sql =
                    format!("SELECT source = 'client' FROM pg_catalog.pg_settings WHERE name = '{}'", MARK.0);
                ask(&mut probe, &sql).await?.try_get(0)?
            }
        };
    // What did not hold is not sent again.
    let wire = if holds { marked } else { wire.clone() };
    Ok(First { probe, wire, server, version, direct: holds })
}

/// The one row of a query that leaves no prepared statement: behind a pooler it would be left to others.
pub(crate) async fn ask(session: &mut PgConnection, sql: &str) -> Result<PgRow, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(session).await
}

async fn is_standby(probe: &mut PgConnection) -> Result<bool, sqlx::Error> {
    ask(probe, "SELECT pg_catalog.pg_is_in_recovery()").await?.try_get(0)
}

/// CockroachDB lets a session into a database that does not exist. Since v26.1 the catalog may answer from a cache, so a
/// database that is not found there is asked for by its use.
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
        // Asks the server for nothing.
        .after_release(move |_, about| {
            let draw = |most| rand::rng().random_range(Duration::ZERO..=most);
            let ends = lifetimes.ends(about.age, Instant::now(), draw);
            Box::pin(std::future::ready(Ok(!ends)))
        })
        .idle_timeout(Duration::from_secs(10 * 60))
        // While connections are refused the pool keeps trying in silence: no longer than this, for whoever asked has a
        // limit of his own, and a word to say about every retry.
        .acquire_timeout(options.connect_timeout)
        // The pool has looked at a connection when it came back; what broke just now shows in the first statement,
        // and that is retried. A ping here would be one more round trip for every transaction. But of those that have lain idle, a
        // node that was lost has broken many at once, and each would cost an attempt and a pause.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for < TRUSTED_IDLE {
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
