//! The databases of the cells.

use std::time::{Duration, Instant};

use database::{Database, Options, Server};
use sea_orm::{ConnectionTrait, Statement};
use tests::{TestDatabase, TestServer};
use url::Url;

use super::script::Script;

/// A busy server's maximum delay in noticing a closed connection.
const QUIET_MAX: Duration = Duration::from_secs(10);

/// Bodies: a database with `ids_K` and `counters_K` for each slot K. Chunks: a bank. A slot runs
/// one cell at a time.
pub(super) struct Arena {
    pub(super) server: Server,
    pub(super) bank: TestDatabase,
    direct: Database,
}

#[derive(Debug)]
pub(super) struct Contents {
    /// How often each statement is applied.
    pub(super) times: i64,
    second: i64,
    /// 1 if the ids are recorded, 0 if they are not, -1 if only some are.
    ids: i64,
}

impl Contents {
    /// Whether the transaction is applied in part, or without its id.
    pub(super) fn inconsistency(&self, without_id: bool) -> Option<String> {
        let whole = self.times == self.second && (without_id || self.ids == self.times);
        (!whole).then(|| "applied in part".to_owned())
    }
}

impl Arena {
    pub(super) async fn new(server: &TestServer, slots: usize) -> Self {
        let bank = server.empty_database().await;
        let direct = bank.connect_with(&Options { max_connections: 4, ..Options::default() }).await;
        let arena = Self { server: server.server, bank, direct };
        for slot in 0..slots {
            arena.execute(&format!("CREATE TABLE ids_{slot} (id BIGINT PRIMARY KEY)")).await;
            let columns = "id BIGINT PRIMARY KEY, n BIGINT NOT NULL DEFAULT 0, m BIGINT NOT NULL DEFAULT 0";
            arena.execute(&format!("CREATE TABLE counters_{slot} ({columns})")).await;
        }
        arena
    }

    /// A bank for one cell at a time: two chunks conflict on PostgreSQL.
    pub(super) async fn of_bank(server: &TestServer) -> Self {
        let bank = server.database().await;
        let direct = bank.connect_with(&Options { max_connections: 4, ..Options::default() }).await;
        Self { server: server.server, bank, direct }
    }

    /// The URL for sessions with this application name.
    pub(super) fn url(&self, name: &str) -> String {
        let mut url = Url::parse(self.bank.url()).expect("the harness makes good URLs");
        url.query_pairs_mut().append_pair("application_name", name);
        url.into()
    }

    pub(super) async fn prepare(&self, script: &Script) {
        self.execute(&script.prepare()).await;
    }

    pub(super) async fn migrate(&self, slot: usize, number: i64) {
        for table in ["ids", "counters"] {
            self.execute(&format!("ALTER TABLE {table}_{slot} ADD COLUMN added_{number} BIGINT")).await;
        }
    }

    pub(super) async fn contents(&self, script: &Script) -> Contents {
        let [times, second, ids] = script.questions();
        Contents {
            times: tests::scalar(&self.direct, &times).await,
            second: tests::scalar(&self.direct, &second).await,
            ids: tests::scalar(&self.direct, &ids).await,
        }
    }

    /// Waits until no session with this name has an open transaction; `false` on timeout.
    pub(super) async fn is_quiet(&self, name: &str) -> bool {
        let open = match self.server {
            Server::Cockroach => format!(
                "SELECT count(*) FROM crdb_internal.node_sessions \
                 WHERE application_name = '{name}' AND (kv_txn IS NOT NULL OR active_queries != '')"
            ),
            _ => format!(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND state <> 'idle'"
            ),
        };
        let started = Instant::now();
        while tests::scalar(&self.direct, &open).await > 0 {
            if started.elapsed() > QUIET_MAX {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Takes the lock that the script's second or only statement waits for.
    pub(super) async fn lock(&self, script: &Script) -> Locked {
        let session = self.bank.connect_with(&Options { max_connections: 1, ..Options::default() }).await;
        for sql in ["BEGIN", &script.lock()] {
            session.connection.execute_unprepared(sql).await.expect("nobody else is there");
        }
        Locked(session)
    }

    async fn execute(&self, sql: &str) {
        let statement = Statement::from_string(self.direct.connection.get_database_backend(), sql);
        let done = self.direct.connection.execute_unprepared(&statement.sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

pub(super) struct Locked(Database);

impl Locked {
    pub(super) async fn release(self) {
        self.0.connection.execute_unprepared("ROLLBACK").await.expect("the lock can be let go");
    }
}
