//! A connection that one worker keeps from one transaction to the next.
//!
//! A pool looks at every connection that comes back, in one round trip, during which nobody has it. A worker that
//! runs one transaction after the other is spared that, and whatever needs to be asked of a session only once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use database::Server;
use sea_orm::DbErr;
use tokio::time::Instant;

use crate::{Session, Sessions};

/// For how long. Then the pool has it back, and may find that it is too old.
const KEPT_MAX: Duration = Duration::from_secs(30);

/// Sessions of one worker, the last of which is used again.
pub(crate) struct Keeping {
    pool: Arc<dyn Sessions>,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Between two transactions.
    session: Option<Box<dyn Session>>,
    /// When one was taken from the pool last.
    since: Instant,
}

impl Keeping {
    pub(crate) fn new(pool: Arc<dyn Sessions>) -> Self {
        Self { pool, kept: Mutex::new(Kept { session: None, since: Instant::now() }) }
    }

    fn put(&self, session: Option<Box<dyn Session>>) -> Option<Box<dyn Session>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut kept.session, session)
    }

    /// What is kept, and whether it has been long enough.
    fn take(&self) -> (Option<Box<dyn Session>>, bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (session, enough) = (kept.session.take(), kept.since.elapsed() >= KEPT_MAX);
        if session.is_none() || enough {
            kept.since = Instant::now();
        }
        (session, enough)
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some(session) = self.put(None) {
            self.pool.release(session);
        }
    }
}

#[async_trait]
impl Sessions for Keeping {
    fn server(&self) -> Server {
        self.pool.server()
    }

    fn connections_max(&self) -> Option<u32> {
        self.pool.connections_max()
    }

    async fn acquire(&self) -> Result<Box<dyn Session>, DbErr> {
        match self.take() {
            (Some(session), false) => return Ok(session),
            (Some(session), true) => self.pool.release(session),
            (None, _) => {}
        }
        self.pool.acquire().await
    }

    fn release(&self, session: Box<dyn Session>) {
        // Where two transactions ran at once after all, one goes back.
        if let Some(other) = self.put(Some(session)) {
            self.pool.release(other);
        }
    }

    async fn end_orphan(&self, session: &str) -> Result<(), DbErr> {
        self.pool.end_orphan(session).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sea_orm::{ExecResult, QueryResult, Statement};

    use super::*;
    use crate::{Begin, Policy, Runner, Tx};

    /// A pool that counts what is taken from it and what it gets back, and sessions that answer nothing but well.
    #[derive(Clone, Default)]
    struct Pool(Arc<[AtomicU32; 2]>);

    impl Pool {
        /// How often one was taken, and how often one came back.
        fn counted(&self) -> [u32; 2] {
            [&self.0[0], &self.0[1]].map(|count| count.load(Ordering::Relaxed))
        }
    }

    #[async_trait]
    impl Sessions for Pool {
        fn server(&self) -> Server {
            Server::Cockroach
        }

        fn connections_max(&self) -> Option<u32> {
            Some(2)
        }

        async fn acquire(&self) -> Result<Box<dyn Session>, DbErr> {
            self.0[0].fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(self.clone()))
        }

        async fn end_orphan(&self, _: &str) -> Result<(), DbErr> {
            Ok(())
        }
    }

    #[async_trait]
    impl Session for Pool {
        async fn begin(&mut self, _: &Begin) -> Result<Option<String>, DbErr> {
            Ok(None)
        }

        async fn control(&mut self, _: &str) -> Result<(), DbErr> {
            Ok(())
        }

        async fn execute(&mut self, _: &Statement) -> Result<ExecResult, DbErr> {
            Err(DbErr::Custom("no body here sends any".to_owned()))
        }

        async fn execute_unprepared(&mut self, _: &str) -> Result<ExecResult, DbErr> {
            Err(DbErr::Custom("no body here sends any".to_owned()))
        }

        async fn query_one(&mut self, _: &Statement) -> Result<Option<QueryResult>, DbErr> {
            Ok(None)
        }

        async fn query_all(&mut self, _: &Statement) -> Result<Vec<QueryResult>, DbErr> {
            Ok(Vec::new())
        }

        async fn copy_in(&mut self, _: &str, _: &[u8]) -> Result<u64, DbErr> {
            Ok(0)
        }

        fn release(self: Box<Self>) {
            self.0[1].fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn transact(runner: &Runner, times: u32) {
        for _ in 0..times {
            runner.run("nothing", async |_: &Tx| Ok::<_, DbErr>(())).await.expect("applied");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_takes_one_connection_and_gives_it_back_in_the_end() {
        let pool = Pool::default();
        let worker = Runner::new(pool.clone(), Policy::default()).for_one_of(2);
        transact(&worker, 10).await;
        assert_eq!(pool.counted(), [1, 0]);
        drop(worker);
        assert_eq!(pool.counted(), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pool_has_it_back_after_a_while() {
        let pool = Pool::default();
        let worker = Runner::new(pool.clone(), Policy::default()).for_one_of(1);
        transact(&worker, 5).await;
        tokio::time::sleep(KEPT_MAX).await;
        transact(&worker, 5).await;
        assert_eq!(pool.counted(), [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_kept_where_others_wait_for_it() {
        let pool = Pool::default();
        let worker = Runner::new(pool.clone(), Policy::default()).for_one_of(3);
        transact(&worker, 5).await;
        assert_eq!(pool.counted(), [5, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_at_once_one_is_kept() {
        let pool = Pool::default();
        let worker = Runner::new(pool.clone(), Policy::default()).for_one_of(1);
        let slow = async |worker: Runner| {
            let body = async |_: &Tx| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, DbErr>(())
            };
            worker.run("slow", body).await.expect("applied");
        };
        tokio::join!(slow(worker.clone()), slow(worker.clone()));
        assert_eq!(pool.counted(), [2, 1]);
    }
}
