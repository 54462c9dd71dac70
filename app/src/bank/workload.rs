//! Load: transfers by many workers for as long as asked, each timed, with audits beside them.
//!
//! A transfer's id depends on the run and its number alone: so a run that was killed can be told again, and applies nothing
//! twice. With a rate the loop is open: a transfer begins when it is
//! due, and its latency counts from then, whether or not a worker was free.

mod batches;
mod meter;
mod pick;
mod schedule;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sea_orm::ConnectionTrait;
use sea_orm_retry::Counts;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::audit::Audit;
use super::transfer::{DrawError, Order, Receipt, Style, TransferError, Wish};
use super::{AccountId, Amount, Bank, ReadError};
use schedule::Schedule;

pub use meter::{Endings, Meter};
pub use pick::Skew;

/// What to do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The run's own id.
    pub run: Uuid,
    /// How each transfer is done.
    pub style: Style,
    /// How many are done in one transaction, by [`Bank::pay`]; where it is left out each is done by its style.
    pub batch: Option<NonZero<usize>>,
    /// How much each moves; half of what the source has where it is left out.
    pub amount: Option<Amount>,
    /// Between how many accounts, the first of the bank, at least 2.
    pub accounts: u64,
    /// How they are drawn.
    pub skew: Skew,
    /// What the draws start from.
    pub rng_seed: u64,
    /// How many workers, at least 1.
    pub concurrency: u32,
    /// For how long, from when every worker has its connection.
    pub duration: Option<Duration>,
    /// The most transfers.
    pub max_ops: Option<u64>,
    /// Transfers a second, above 0; as many as the workers manage where it is left out.
    pub rate: Option<f64>,
    /// For how long the load grows.
    pub ramp: Duration,
    /// How often the totals are audited meanwhile.
    pub audit_every: Option<Duration>,
    /// How old the snapshots of those audits are, on CockroachDB; the last one, of the whole bank, reads the present.
    pub audit_as_of: Option<Duration>,
    /// Whether to go on where a transfer fails, or stays unknown.
    pub tolerate_errors: bool,
}

/// What is told of a load while it goes.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What has ended since the look before.
    pub interval: &'a Meter,
    /// How long all of it has run.
    pub elapsed: Duration,
    /// How many retries of transfers there were so far.
    pub retries: u64,
    /// How many audits there were so far.
    pub audits: u64,
}

/// What a load came to.
#[derive(Debug)]
pub struct Ended {
    /// All of its transfers.
    pub total: Meter,
    /// What its transactions came to, the connections' opening and the audits left out.
    pub counts: Counts,
    /// How long it took, the last audit left out.
    pub took: Duration,
    /// How many audits, the last one included.
    pub audits: u64,
    /// The first audit that found the bank broken; else the last, of the whole bank, unless that was interrupted.
    pub audit: Option<Result<Audit, ReadError>>,
    /// Transfers that had begun and were given up after the load was stopped: whether they are applied is unknown.
    pub cut_off: Vec<Order>,
    /// The first transfer that failed or is unknown, with what it was.
    pub first_error: Option<(Order, TransferError)>,
}

/// How long transfers that had begun, and the last audit, may take once the load is stopped.
const GRACE: Duration = Duration::from_millis(600);

/// A load on its way.
struct Running {
    load: Workload,
    accounts: pick::Pick,
    started: Instant,
    next: AtomicU64,
    /// Cancelled when no further transfer is to begin.
    stop: CancellationToken,
    /// What has ended since it was looked at last.
    interval: Mutex<Meter>,
    first_error: Mutex<Option<(Order, TransferError)>>,
    /// The transfers on their way, by their numbers.
    begun: Mutex<BTreeMap<u64, Order>>,
    audits: AtomicU64,
    broken: Mutex<Option<Audit>>,
}

impl Bank {
    /// Loads the bank until `stop` is cancelled, its time is over, a transfer ends badly and that is not tolerated, an
    /// audit finds the bank broken, or there is no more to do; then audits all of it by `auditor`, a bank on the same database whose statements take as long as they take.
    /// `look` is told every so often how it goes.
    ///
    /// # Errors
    ///
    /// A [`DrawError`] before the first transfer.
    pub async fn load(
        &self,
        auditor: &Self,
        load: Workload,
        look_every: Duration,
        stop: CancellationToken,
        mut look: impl FnMut(Look<'_>),
    ) -> Result<Ended, DrawError> {
        let ids = self.first_accounts(load.accounts).await?;
        if ids.len() < 2 {
            return Err(DrawError::TooFewAccounts);
        }
        let workers = load.concurrency;
        // An end of its own: what `stop` says of the caller is something else.
        let (stopped, duration) = (stop, load.duration);
        let stop = stopped.child_token();
        let banks: Vec<Self> = (0..workers).map(|_| self.for_one_of(workers)).collect();
        tokio::select! {
            // Where one cannot be opened now, its first transfer will say.
            _ = join_all(banks.iter().map(Self::open)) => {}
            () = stop.cancelled() => {}
        }
        let before = self.counts();
        let running = Arc::new(Running {
            accounts: pick::Pick::new(ids, load.skew),
            load,
            started: Instant::now(),
            next: AtomicU64::new(0),
            stop,
            interval: Mutex::default(),
            first_error: Mutex::default(),
            begun: Mutex::default(),
            audits: AtomicU64::new(0),
            broken: Mutex::default(),
        });
        let mut working = JoinSet::new();
        for (worker, bank) in (0..).zip(banks) {
            let running = Arc::clone(&running);
            working.spawn(async move { running.work(&bank, worker).await });
        }
        if let Some(duration) = duration {
            let running = Arc::clone(&running);
            tokio::spawn(async move {
                running.wait_until(duration).await;
                running.stop.cancel();
            });
        }
        let over = CancellationToken::new();
        let auditing = running.load.audit_every.map(|every| {
            let auditor = running.load.audit_as_of.map_or_else(|| auditor.clone(), |ago| auditor.as_of(ago));
            let (running, over) = (Arc::clone(&running), over.clone());
            tokio::spawn(async move { running.audit(&auditor, every, &over).await })
        });

        let mut total = Meter::default();
        let mut looking = tokio::time::interval(look_every);
        looking.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looking.tick().await;
        let mut look_at_interval = |total: &mut Meter| {
            let mut interval = std::mem::take(&mut *lock(&running.interval));
            look(Look {
                interval: &interval,
                elapsed: running.started.elapsed(),
                retries: self.counts().retries - before.retries,
                audits: running.audits.load(Ordering::Relaxed),
            });
            total.take(&mut interval);
        };
        let given_up = CancellationToken::new();
        tokio::spawn({
            let given_up = given_up.clone();
            async move {
                stopped.cancelled().await;
                tokio::time::sleep(GRACE).await;
                given_up.cancel();
            }
        });
        loop {
            tokio::select! {
                worker = working.join_next() => match worker {
                    Some(worker) => worker.expect("a worker does not panic"),
                    None => break,
                },
                _ = looking.tick() => look_at_interval(&mut total),
                () = given_up.cancelled() => {
                    working.shutdown().await;
                    break;
                }
            }
        }
        look_at_interval(&mut total);
        let (took, counts) = (running.started.elapsed(), self.counts().since(&before));
        running.stop.cancel();
        over.cancel();
        if let Some(auditing) = auditing {
            auditing.await.expect("audits do not panic");
        }
        let broken = lock(&running.broken).take();
        let mut audits = running.audits.load(Ordering::Relaxed);
        let audit = match broken {
            Some(audit) => Some(Ok(audit)),
            None => tokio::select! {
                biased;
                audit = auditor.audit() => {
                    audits += 1;
                    Some(audit)
                }
                () = given_up.cancelled() => None,
            },
        };
        let first_error = lock(&running.first_error).take();
        let cut_off = std::mem::take(&mut *lock(&running.begun)).into_values().collect();
        Ok(Ended { total, counts, took, audits, audit, cut_off, first_error })
    }

    /// Has a connection, and asks it for nothing.
    async fn open(&self) -> Result<(), ReadError> {
        self.runner.query("open", async |tx| tx.execute_unprepared("SELECT 1").await.map(drop)).await
    }

    /// The first so many accounts by their numbers, page by page.
    async fn first_accounts(&self, count: u64) -> Result<Vec<i64>, ReadError> {
        const PAGE: u64 = 10_000;
        let mut ids: Vec<i64> = Vec::new();
        let mut next = Some(i64::MIN);
        while let Some(from) = next
            && (ids.len() as u64) < count
        {
            let page = self.account_list(AccountId(from), PAGE.min(count - ids.len() as u64)).await?;
            // No number comes after the largest there is.
            next = page.last().and_then(|last| last.id.checked_add(1));
            ids.extend(page.into_iter().map(|account| account.id));
        }
        Ok(ids)
    }
}

impl Running {
    /// Takes numbers in turn, until there is nothing more to do.
    async fn work(&self, bank: &Bank, worker: u32) {
        let load = &self.load;
        if load.rate.is_none() && !load.ramp.is_zero() {
            // Without a rate the load grows worker by worker.
            self.wait_until(load.ramp * worker / load.concurrency).await;
        }
        if let Some(size) = load.batch {
            return self.work_in_batches(bank, size.get() as u64).await;
        }
        while !self.stop.is_cancelled() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if load.max_ops.is_some_and(|most| number >= most) {
                break;
            }
            let mut due = Instant::now();
            if let Some(rate) = load.rate {
                let start = Schedule { rate, ramp: load.ramp }.start_of(number);
                due = self.started + start;
                if !self.wait_until(start).await {
                    break;
                }
            }
            let order = self.order(number);
            lock(&self.begun).insert(number, order);
            let outcome = bank.transfer(order, load.style).await;
            self.ended(number, order, outcome, due);
        }
    }

    /// Counts a transfer, and stops where it ended as none should.
    fn ended(&self, number: u64, order: Order, outcome: Result<Receipt, TransferError>, due: Instant) {
        lock(&self.begun).remove(&number);
        lock(&self.interval).count(outcome.as_ref(), due.elapsed());
        if let Err(error) = outcome
            && meter::is_bad(&error)
        {
            if !self.load.tolerate_errors {
                self.stop.cancel();
            }
            lock(&self.first_error).get_or_insert((order, error));
        }
    }

    /// Whether it is time, and not the end.
    async fn wait_until(&self, start: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep_until((self.started + start).into()) => true,
            () = self.stop.cancelled() => false,
        }
    }

    fn order(&self, number: u64) -> Order {
        let id = Uuid::new_v5(&self.load.run, format!("transfer/{number}").as_bytes());
        let mut rng = ChaCha8Rng::seed_from_u64(self.load.rng_seed);
        rng.set_stream(number);
        let (source, target) = self.accounts.two(&mut rng);
        // What is drawn agrees with whatever is recorded: the accounts may have become others since.
        Order::new(id, source, target, Wish { amount: self.load.amount, ..Wish::default() })
    }

    /// Audits the totals again and again, until all is over or one is wrong.
    async fn audit(&self, auditor: &Bank, every: Duration, over: &CancellationToken) {
        let mut due = tokio::time::interval(every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = over.cancelled() => return,
            }
            // One that cannot be read proves nothing; the last one will say.
            let audited = tokio::select! {
                audited = auditor.audit_totals() => audited,
                () = over.cancelled() => return,
            };
            match audited {
                Ok(audit) => {
                    self.audits.fetch_add(1, Ordering::Relaxed);
                    if !audit.ok {
                        *lock(&self.broken) = Some(audit);
                        return self.stop.cancel();
                    }
                }
                Err(error) => tracing::warn!(%error, "an audit could not be read"),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
