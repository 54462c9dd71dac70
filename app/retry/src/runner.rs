//! The public entry point.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::DatabaseConnection;

use crate::pool::Pool;
use crate::worker::Slot;
use crate::{Ended, Observer, Policy, Run, Server, Sessions, Tx, Version};

tokio::task_local! {
    /// The identities of the pools whose transactions enclose the current task.
    static IN_BODY: Vec<usize>;
}

/// Whether this task is inside the body of a transaction on a pool.
pub(crate) fn is_in_body(pool: usize) -> bool {
    IN_BODY.try_with(|pools| pools.contains(&pool)).unwrap_or(false)
}

/// Runs a body inside a transaction on a pool.
pub(crate) async fn in_body<T>(pool: usize, body: impl Future<Output = T>) -> T {
    let mut pools = IN_BODY.try_with(Vec::clone).unwrap_or_default();
    pools.push(pool);
    IN_BODY.scope(pools, body).await
}

/// What a body promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) writes: bool,
    /// Whether the body can detect its own earlier attempt.
    pub(crate) is_idempotent: bool,
    pub(crate) is_transaction: bool,
}

impl Contract {
    /// Never run again after an ambiguous commit.
    pub(crate) const ONCE: Self = Self { writes: true, is_idempotent: false, is_transaction: true };
    /// Detects its own earlier attempt.
    pub(crate) const IDEMPOTENT: Self = Self { is_idempotent: true, ..Self::ONCE };
    /// Reads one snapshot.
    pub(crate) const SNAPSHOT: Self = Self { writes: false, ..Self::ONCE };
    /// Reads without a transaction: each statement reads its own present.
    pub(crate) const QUERY: Self = Self { is_transaction: false, ..Self::SNAPSHOT };
    /// Idempotent, and its first statement is the whole transaction, autocommitted.
    pub(crate) const STATEMENT: Self = Self { is_transaction: false, ..Self::IDEMPOTENT };
}

/// Runs closures as transactions on one pool, under one [`Policy`]. Cloning is cheap.
#[derive(Clone)]
pub struct Runner {
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) policy: Policy,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) jitter: Arc<Mutex<StdRng>>,
    /// Whether the server has refused a setting in BEGIN's message.
    pub(crate) settings_refused: Arc<AtomicBool>,
    /// A worker's kept connection.
    pub(crate) slot: Option<Arc<Mutex<Slot>>>,
}

/// The methods that run a body, each with what the body promises.
macro_rules! kinds_of_run {
    ($($(#[$doc:meta])* $name:ident: $contract:ident)*) => {$(
        $(#[$doc])*
        pub async fn $name<T, E, F>(&self, name: &'static str, body: F) -> Result<T, E>
        where
            E: From<Ended> + Display,
            F: AsyncFnOnce(&Tx) -> Result<T, E> + Clone,
        {
            self.carry_out(Run::new(name, Contract::$contract), body).await
        }
    )*};
}

impl Runner {
    /// A runner on a pool of PostgreSQL, CockroachDB or SQLite. Nothing is sent yet. On any other
    /// connection every run ends with an error.
    pub fn new(connection: &DatabaseConnection, policy: Policy) -> Self {
        Self::on_sessions(Arc::new(Pool::new(connection)), policy)
    }

    pub(crate) fn on_sessions(sessions: Arc<dyn Sessions>, policy: Policy) -> Self {
        let jitter = Arc::new(Mutex::new(StdRng::seed_from_u64(rand::random())));
        Self { sessions, policy, observers: Vec::new(), jitter, settings_refused: Arc::default(), slot: None }
    }

    /// The same runner under another policy. A [`worker`](Self::worker) shares its connection with
    /// it, unless `unnamed_statements` differs.
    #[must_use]
    pub fn under(&self, policy: Policy) -> Self {
        let shares = policy.unnamed_statements == self.policy.unnamed_statements;
        let slot = self.slot.clone().map(|slot| if shares { slot } else { Arc::default() });
        Self { policy, slot, ..self.clone() }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The same runner with one more observer.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The same runner for a worker, which runs transactions back to back: it keeps its connection
    /// from run to run, which avoids the pool's ping on release.
    ///
    /// It releases the connection when it has been without a run for 200 to 400 ms, and at the end of
    /// the first run that ends later than 2 s after it was taken. Clones share the connection; of
    /// runs at the same time one has it, and the others take theirs from the pool. It can be dropped
    /// anywhere.
    #[must_use]
    pub fn worker(&self) -> Self {
        Self { slot: Some(Arc::default()), ..self.clone() }
    }

    /// The server behind the pool; `None` before the first transaction.
    pub fn server(&self) -> Option<Server> {
        self.sessions.version().map(|version| version.server)
    }

    /// The server's version, without settings once the server refused one.
    pub(crate) fn version(&self) -> Option<Version> {
        let with_settings = !self.settings_refused.load(Ordering::Relaxed);
        self.sessions.version().map(|version| Version { with_settings, ..version })
    }

    kinds_of_run! {
        /// Runs `body` in a transaction and retries it until it commits or cannot. `name` appears in
        /// logs and errors.
        ///
        /// The body is cloned for each attempt, so every attempt starts from the same captured state.
        /// After a lost answer to COMMIT the run ends with an [`Ended`] that may be applied, because
        /// another attempt might apply it twice. Use [`run_idempotent`](Self::run_idempotent) for
        /// bodies that can detect their own earlier attempt.
        ///
        /// **CockroachDB below v23.2** can, in rare cases on several nodes, answer 40001 to a COMMIT
        /// that it had applied (its issue 103817). Such a transaction is run again and applied twice:
        /// use `run_idempotent` there where that matters.
        ///
        /// A body that captures by `&mut` does not compile, for a second attempt would start from what
        /// the first left:
        ///
        /// ```compile_fail,E0277
        /// # async fn f(runner: &sea_orm_retry::Runner) {
        /// let mut sum = 0;
        /// let counted = runner.run("count", async |_: &sea_orm_retry::Tx| -> Result<(), sea_orm::DbErr> {
        ///     sum += 1;
        ///     Ok(())
        /// });
        /// # counted.await.ok();
        /// # }
        /// ```
        ///
        /// ```
        /// # async fn f(runner: &sea_orm_retry::Runner) {
        /// let sum = 0;
        /// let counted = runner.run("count", async |_: &sea_orm_retry::Tx| -> Result<i32, sea_orm::DbErr> {
        ///     Ok(sum + 1)
        /// });
        /// # counted.await.ok();
        /// # }
        /// ```
        ///
        /// # Errors
        ///
        /// The body's own error: nothing is applied. Or an [`Ended`] as `E`, which says whether
        /// anything may be.
        run: ONCE

        /// Runs a body that may be run again after an unknown COMMIT, because it finds out by itself
        /// what became of it.
        ///
        /// The body's contract:
        ///
        /// - Everything that tells its attempts apart from others' (an id, the rows it touches, every
        ///   random draw) is fixed before the run, outside the body.
        /// - Its first statement collides with its own earlier attempt: it writes its own id (`INSERT …
        ///   ON CONFLICT DO NOTHING`, or a plain INSERT until [`Tx::key_taken`]), or, where something
        ///   must be read first, it locks a row that attempt wrote (`FOR UPDATE`) and then looks at the
        ///   id. A plain read of "not there" proves nothing.
        /// - Where the id is there and is its own, it calls [`Tx::proved_applied`] and answers from
        ///   what it finds. Where the id is now written, or the lock is held and the id is absent, or
        ///   the id is another's, it calls [`Tx::proved_not_applied`].
        ///
        /// # Errors
        ///
        /// As for [`run`](Self::run). After an unknown attempt, the body's own error comes only after
        /// [`Tx::proved_not_applied`]; otherwise an [`Ended`] that may be applied.
        run_idempotent: IDEMPOTENT

        /// Runs a body that only reads, in one snapshot that neither waits for writers' locks nor takes
        /// any: REPEATABLE READ, READ ONLY on PostgreSQL, a fixed time on CockroachDB (the present, or
        /// as [`Policy::read_as_of`] says), a deferred transaction with `query_only` on SQLite. A
        /// statement that writes fails.
        ///
        /// # Errors
        ///
        /// As for [`run`](Self::run), but nothing is ever applied.
        read: SNAPSHOT

        /// Runs a body that only reads, outside any transaction: each statement sees its own present,
        /// in one round trip. **Its isolation is the pool's default**, because there is no BEGIN that
        /// could name one. Nothing forbids it to write, either: what it writes may be applied once for
        /// each attempt.
        ///
        /// # Errors
        ///
        /// As for [`read`](Self::read).
        query: QUERY

        /// Runs a transaction that is one autocommitted statement, the first of `body`: one round trip,
        /// no BEGIN, no COMMIT. **Its isolation is the pool's default**, because there is no BEGIN that
        /// could name one.
        ///
        /// The body keeps the contract of [`run_idempotent`](Self::run_idempotent) with that statement,
        /// which changes everything the transaction is to change, or nothing. Where its answer leaves
        /// open which, later statements only look that up; then the body calls [`Tx::proved_applied`],
        /// or [`Tx::proved_not_applied`] where this attempt has changed nothing.
        ///
        /// That proves nothing about an earlier attempt, unlike inside a transaction: a statement that
        /// is late on its way holds no lock yet, and may be carried out after it was looked for. Only
        /// an id that is written keeps it out.
        ///
        /// A statement that commits while it runs (CREATE INDEX CONCURRENTLY, a CALL or DO with COMMIT)
        /// is not one transaction, and its error does not say that nothing is applied.
        ///
        /// # Errors
        ///
        /// As for [`run_idempotent`](Self::run_idempotent). After an attempt that ended unknown, an
        /// error of the body is an [`Ended`] that may be applied.
        statement: STATEMENT
    }

    /// As [`run`](Self::run), for generic callers whose future must be `Send` whatever the body is.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_boxed<'r, T, E, F>(&'r self, name: &'static str, body: F) -> BoxFuture<'r, Result<T, E>>
    where
        T: Send + 'r,
        E: From<Ended> + Display + Send + 'r,
        F: for<'c> Fn(&'c Tx) -> BoxFuture<'c, Result<T, E>> + Clone + Send + Sync + 'r,
    {
        Box::pin(self.carry_out(Run::new(name, Contract::ONCE), async move |tx: &Tx| body(tx).await))
    }
}
