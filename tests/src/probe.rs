//! Whether a cluster serves transfers without the bank: plain sessions, one on each node, that send
//! the two statements of a transfer as text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;

const EVERY: Duration = Duration::from_millis(200);

/// A request that takes longer is not served.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Transfers between two accounts, directly on each node. Dropping it ends the sessions.
#[derive(Debug)]
pub struct Probe {
    served: Arc<Mutex<Served>>,
    _tasks: JoinSet<()>,
}

/// The current time without a gap longer than [`ANSWER_MAX`] and [`EVERY`].
#[derive(Debug)]
struct Served {
    since: Instant,
    last: Instant,
}

impl Served {
    fn has_gap(&self) -> bool {
        self.last.elapsed() > ANSWER_MAX + EVERY
    }
}

impl Probe {
    /// Moves 1 back and forth between two accounts, through sessions of these nodes' URLs.
    #[must_use]
    pub fn start(urls: Vec<String>, accounts: [i64; 2]) -> Self {
        let now = Instant::now();
        let served = Arc::new(Mutex::new(Served { since: now, last: now }));
        let mut tasks = JoinSet::new();
        for url in urls {
            // The driver knows one scheme.
            let url = url.replacen("cockroachdb://", "postgres://", 1);
            tasks.spawn(probe(url, accounts, Arc::clone(&served)));
        }
        Self { served, _tasks: tasks }
    }

    /// For how long a node has served transfers without a gap; zero in a gap.
    #[must_use]
    pub fn served_for(&self) -> Duration {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if served.has_gap() { Duration::ZERO } else { served.since.elapsed() }
    }
}

async fn probe(url: String, [mut source, mut target]: [i64; 2], served: Arc<Mutex<Served>>) {
    let mut session: Option<PgConnection> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let transfer = format!(
            "BEGIN; INSERT INTO transfers (id, source_id, target_id, amount) \
             VALUES (gen_random_uuid(), {source}, {target}, 1); \
             UPDATE accounts SET balance = balance + CASE id WHEN {source} THEN -1 ELSE 1 END \
             WHERE id IN ({source}, {target}); COMMIT"
        );
        let answered = tokio::time::timeout(ANSWER_MAX, async {
            let mut kept = match session.take() {
                Some(kept) => kept,
                None => PgConnection::connect(&url).await?,
            };
            kept.execute(sea_orm::sqlx::AssertSqlSafe(transfer)).await?;
            session = Some(kept);
            Ok::<_, sea_orm::sqlx::Error>(())
        });
        // A session with an error is dropped: its transaction may be open.
        if let Ok(Ok(())) = answered.await {
            let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
            if served.has_gap() {
                served.since = Instant::now();
            }
            served.last = Instant::now();
            std::mem::swap(&mut source, &mut target);
        }
    }
}
