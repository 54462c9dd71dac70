//! A running workload: its workers, and the audits beside them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::schedule::Schedule;
use super::{Meter, Workload, meter, pick};
use crate::bank::audit::Audit;
use crate::bank::transfer::{Order, Receipt, TransferError, TransferRequest, numbered};
use crate::bank::{Bank, ReadError};

pub(super) struct Running {
    pub(super) load: Workload,
    accounts: pick::Pick,
    pub(super) started: Instant,
    pub(super) next: AtomicU64,
    /// Cancelled to begin no further transfer.
    pub(super) stop: CancellationToken,
    interval: Mutex<Meter>,
    pub(super) first_error: Mutex<Option<(Order, TransferError)>>,
    pub(super) begun: Mutex<BTreeMap<u64, Order>>,
    pub(super) audits: AtomicU64,
    broken: Mutex<Option<Audit>>,
}

pub(super) struct Audits {
    over: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Audits {
    pub(super) async fn end(self) {
        self.over.cancel();
        if let Some(task) = self.task {
            task.await.expect("audits do not panic");
        }
    }
}

impl Running {
    /// `ids`: at least two accounts.
    pub(super) fn new(load: Workload, ids: Vec<i64>, stop: CancellationToken) -> Self {
        Self {
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
        }
    }

    pub(super) fn spawn_workers(self: &Arc<Self>, banks: Vec<Bank>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for (worker, bank) in (0..).zip(banks) {
            let running = Arc::clone(self);
            workers.spawn(async move { running.work(&bank, worker).await });
        }
        if let Some(duration) = self.load.duration {
            let running = Arc::clone(self);
            tokio::spawn(async move {
                running.wait_until(duration).await;
                running.stop.cancel();
            });
        }
        workers
    }

    pub(super) fn spawn_audits(self: &Arc<Self>, auditor: &Bank) -> Audits {
        let over = CancellationToken::new();
        let task = self.load.audit_every.map(|every| {
            let auditor = self.load.audit_as_of.map_or_else(|| auditor.clone(), |ago| auditor.as_of(ago));
            let (running, over) = (Arc::clone(self), over.clone());
            tokio::spawn(async move { running.audit(&auditor, every, &over).await })
        });
        Audits { over, task }
    }

    pub(super) fn take_interval(&self) -> Meter {
        std::mem::take(&mut *lock(&self.interval))
    }

    /// The audit that found the bank broken, or one of the whole bank, unless `given_up` comes
    /// first.
    pub(super) async fn last_audit(
        &self,
        auditor: &Bank,
        given_up: &CancellationToken,
    ) -> Option<Result<Audit, ReadError>> {
        if let Some(audit) = lock(&self.broken).take() {
            return Some(Ok(audit));
        }
        tokio::select! {
            biased;
            audit = auditor.audit() => {
                self.audits.fetch_add(1, Ordering::Relaxed);
                Some(audit)
            }
            () = given_up.cancelled() => None,
        }
    }

    /// Applies transfers until none are left.
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

    pub(super) fn ended(
        &self,
        number: u64,
        order: Order,
        outcome: Result<Receipt, TransferError>,
        due: Instant,
    ) {
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

    /// Waits; returns whether the workload goes on.
    pub(super) async fn wait_until(&self, start: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep_until((self.started + start).into()) => true,
            () = self.stop.cancelled() => false,
        }
    }

    pub(super) fn order(&self, number: u64) -> Order {
        let (id, mut rng) = numbered(&self.load.run, self.load.rng_seed, number);
        let (source, target) = self.accounts.two(&mut rng);
        // The request is empty, because a repeated run may draw other accounts.
        Order::new(
            id,
            source,
            target,
            TransferRequest { amount: self.load.amount, ..TransferRequest::default() },
        )
    }

    /// Audits the totals until `over`, or until an audit finds the bank broken.
    async fn audit(&self, auditor: &Bank, every: Duration, over: &CancellationToken) {
        let mut due = tokio::time::interval(every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = over.cancelled() => return,
            }
            // A failed audit proves nothing. The last audit will report it.
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
