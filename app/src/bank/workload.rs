//! The workload: timed transfers by many workers, with audits beside them.
//!
//! A transfer's id depends only on the run and its number, so a repeated run applies nothing twice.
//! With a rate, latency counts from when a transfer was due.

mod batches;
mod meter;
mod pick;
mod running;
mod schedule;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::audit::Audit;
use super::transfer::{DrawError, Order, Style, TransferError};
use super::{AccountId, Amount, Bank, Counts, ReadError};
use running::{Running, lock};

pub use meter::{Endings, Meter};
pub use pick::Skew;

/// The parameters of a workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The run's id.
    pub run: Uuid,
    /// The style of the transfers.
    pub style: Style,
    /// How many in one transaction, by [`Bank::pay`] instead of the style.
    pub batch: Option<NonZero<usize>>,
    /// The amount of each; half of the source's balance if left out.
    pub amount: Option<Amount>,
    /// The number of accounts, the first of the bank, at least 2.
    pub accounts: u64,
    /// How accounts are drawn.
    pub skew: Skew,
    /// The seed.
    pub rng_seed: u64,
    /// Workers, at least 1.
    pub concurrency: u32,
    /// How long, from when every worker has its connection.
    pub duration: Option<Duration>,
    /// The most transfers.
    pub max_ops: Option<u64>,
    /// Transfers a second, above 0; as many as possible if left out.
    pub rate: Option<f64>,
    /// How long the load grows.
    pub ramp: Duration,
    /// How often totals are audited meanwhile.
    pub audit_every: Option<Duration>,
    /// The age of the snapshots of these audits, on CockroachDB. The last audit reads the present.
    pub audit_as_of: Option<Duration>,
    /// Whether to go on after a failed or unknown transfer.
    pub tolerate_errors: bool,
}

/// A report at an interval.
#[derive(Clone, Copy, Debug)]
pub struct IntervalReport<'a> {
    /// What has ended in the interval.
    pub interval: &'a Meter,
    /// The time since the start.
    pub elapsed: Duration,
    /// Retries so far.
    pub retries: u64,
    /// Audits so far.
    pub audits: u64,
    /// Whether all workers have ended; the last audit follows.
    pub is_last: bool,
}

/// The result of a workload.
#[derive(Debug)]
pub struct Ended {
    /// All of its transfers.
    pub total: Meter,
    /// The counts of its transactions, without audits and the opening of connections.
    pub counts: Counts,
    /// How long it took, without the last audit.
    pub took: Duration,
    /// Audits, the last one included.
    pub audits: u64,
    /// The first audit that found the bank broken, or the last one; `None` if it was interrupted.
    pub audit: Option<Result<Audit, ReadError>>,
    /// Transfers that were under way when the load was given up. Their outcomes are unknown.
    pub cut_off: Vec<Order>,
    /// The first failed or unknown transfer.
    pub first_error: Option<(Order, TransferError)>,
}

/// How long transfers under way and the last audit may take after `stop`.
const GRACE: Duration = Duration::from_millis(600);

impl Bank {
    /// Runs a workload until `stop` is cancelled, its time is over, a transfer fails and that is
    /// not tolerated, an audit fails, or all is done. Then `auditor`, a bank without a statement
    /// timeout, audits the whole bank.
    ///
    /// # Errors
    ///
    /// A [`DrawError`] before the first transfer.
    pub async fn load(
        &self,
        auditor: &Self,
        load: Workload,
        report_every: Duration,
        stop: CancellationToken,
        mut report: impl FnMut(IntervalReport<'_>),
    ) -> Result<Ended, DrawError> {
        let ids = self.first_accounts(load.accounts).await?;
        if ids.len() < 2 {
            return Err(DrawError::TooFewAccounts);
        }
        // The workload cancels its own token; `stop` tells whether the caller did.
        let own_stop = stop.child_token();
        let banks = self.opened(load.concurrency, &own_stop).await;
        let before = self.counts();
        let running = Arc::new(Running::new(load, ids, own_stop));
        let mut workers = running.spawn_workers(banks);
        let audits = running.spawn_audits(auditor);
        let given_up = after_grace(stop);

        let mut total = Meter::default();
        let mut ticks = tokio::time::interval(report_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut report_interval = |total: &mut Meter, is_last| {
            let mut interval = running.take_interval();
            report(IntervalReport {
                interval: &interval,
                elapsed: running.started.elapsed(),
                retries: self.counts().retries - before.retries,
                audits: running.audits.load(Ordering::Relaxed),
                is_last,
            });
            total.take(&mut interval);
        };
        loop {
            tokio::select! {
                worker = workers.join_next() => match worker {
                    Some(worker) => worker.expect("a worker does not panic"),
                    None => break,
                },
                _ = ticks.tick() => report_interval(&mut total, false),
                () = given_up.cancelled() => {
                    workers.shutdown().await;
                    break;
                }
            }
        }
        report_interval(&mut total, true);
        let (took, counts) = (running.started.elapsed(), self.counts().since(&before));
        running.stop.cancel();
        audits.end().await;
        let audit = running.last_audit(auditor, &given_up).await;
        let audits = running.audits.load(Ordering::Relaxed);
        let first_error = lock(&running.first_error).take();
        let cut_off = std::mem::take(&mut *lock(&running.begun)).into_values().collect();
        Ok(Ended { total, counts, took, audits, audit, cut_off, first_error })
    }

    async fn opened(&self, workers: u32, stop: &CancellationToken) -> Vec<Self> {
        let banks: Vec<Self> = (0..workers).map(|_| self.worker_among(workers)).collect();
        tokio::select! {
            // If one cannot be opened, its first transfer reports that.
            _ = join_all(banks.iter().map(Self::open)) => {}
            () = stop.cancelled() => {}
        }
        banks
    }

    async fn open(&self) -> Result<(), ReadError> {
        self.runner.query("open", async |tx| tx.execute_unprepared("SELECT 1").await.map(drop)).await
    }

    async fn first_accounts(&self, count: u64) -> Result<Vec<i64>, ReadError> {
        const PAGE: u64 = 10_000;
        let mut ids: Vec<i64> = Vec::new();
        let mut next = Some(i64::MIN);
        while let Some(from) = next
            && (ids.len() as u64) < count
        {
            let page = self.account_list(AccountId(from), PAGE.min(count - ids.len() as u64)).await?;
            next = page.last().and_then(|last| last.id.checked_add(1));
            ids.extend(page.into_iter().map(|account| account.id));
        }
        Ok(ids)
    }
}

fn after_grace(stop: CancellationToken) -> CancellationToken {
    let over = CancellationToken::new();
    tokio::spawn({
        let over = over.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
            over.cancel();
        }
    });
    over
}
