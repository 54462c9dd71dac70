//! Batches: many transfers of a workload in one transaction.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::running::{Running, lock};
use super::schedule::Schedule;
use crate::bank::Bank;
use crate::bank::transfer::Order;

impl Running {
    pub(super) async fn work_in_batches(&self, bank: &Bank, size: u64) {
        while !self.stop.is_cancelled() {
            let batch = match self.load.rate {
                None => self.next_batch(size),
                Some(rate) => self.due_batch(Schedule { rate, ramp: self.load.ramp }, size).await,
            };
            if batch.is_empty() {
                break;
            }
            let orders: Vec<Order> = batch.iter().map(|(number, _)| self.order(*number)).collect();
            lock(&self.begun).extend(batch.iter().map(|(number, _)| *number).zip(orders.iter().copied()));
            let outcomes = bank.pay(&orders).await;
            for (((number, due), order), outcome) in batch.into_iter().zip(orders).zip(outcomes) {
                self.ended(number, order, outcome, due);
            }
        }
    }

    /// The next numbers, due now.
    fn next_batch(&self, size: u64) -> Vec<(u64, Instant)> {
        let (now, most) = (Instant::now(), self.load.max_ops.unwrap_or(u64::MAX));
        let first = self.next.fetch_add(size, Ordering::Relaxed).min(most);
        (first..first.saturating_add(size).min(most)).map(|number| (number, now)).collect()
    }

    /// Waits for the next number, and takes the others that are due by then.
    async fn due_batch(&self, schedule: Schedule, size: u64) -> Vec<(u64, Instant)> {
        let most = self.load.max_ops.unwrap_or(u64::MAX);
        let mut batch = Vec::new();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        if first >= most || !self.wait_until(schedule.start_of(first)).await {
            return batch;
        }
        batch.push((first, self.started + schedule.start_of(first)));
        let elapsed = self.started.elapsed();
        let is_due =
            |number: u64| (number < most && schedule.start_of(number) <= elapsed).then(|| number + 1);
        while (batch.len() as u64) < size
            && let Ok(number) = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due)
        {
            batch.push((number, self.started + schedule.start_of(number)));
        }
        batch
    }
}
