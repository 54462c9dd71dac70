//! Many transfers at once, by workers that take numbers in turn.

use std::num::NonZero;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DrawError, Order, Receipt, Style, TransferError, Wish};
use crate::bank::{Bank, ReadError};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// How many transfers, numbered from 0.
    pub count: u64,
    /// How many of them at once, at least 1.
    pub concurrency: u32,
    /// The run's own id: told again with the same one, a run does only what it has not done yet.
    pub run: Uuid,
    /// What each is to be.
    pub wish: Wish,
    /// How.
    pub style: Style,
    /// How many in one transaction, by [`Bank::pay`]; where it is left out each is done by its style.
    pub batch: Option<NonZero<usize>>,
    /// What the draws start from; each transfer has a stream of its own.
    pub rng_seed: u64,
}

/// How one of them ended.
#[derive(Debug)]
pub struct Ended {
    /// Its id.
    pub id: Uuid,
    /// What was begun; nothing where it could not be drawn.
    pub order: Option<Order>,
    /// What came of it.
    pub outcome: Result<Receipt, Unsuccessful>,
}

/// Why one was not applied, or not for sure.
#[derive(Debug, thiserror::Error)]
pub enum Unsuccessful {
    /// It could not be drawn; it was not begun.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// It was begun.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl Ended {
    fn of(order: Order, outcome: Result<Receipt, TransferError>) -> Self {
        Self { id: order.id, order: Some(order), outcome: outcome.map_err(Unsuccessful::Transfer) }
    }
}

impl Many {
    /// The id of the transfer with this number.
    #[must_use]
    pub fn id(&self, number: u64) -> Uuid {
        Uuid::new_v5(&self.run, format!("transfer/{number}").as_bytes())
    }
}

impl Bank {
    /// Begins them all, and tells each that has ended, in no order. When `stop` is cancelled no further one is begun.
    /// The channel closes after the last.
    ///
    /// # Errors
    ///
    /// A [`ReadError`] before the first.
    pub async fn transfer_many(
        &self,
        many: Many,
        stop: CancellationToken,
    ) -> Result<mpsc::Receiver<Ended>, ReadError> {
        let range = if many.wish.is_complete() { None } else { self.account_range().await? };
        let next = Arc::new(AtomicU64::new(0));
        let (ended, receiver) = mpsc::channel(1024);
        let mut workers = JoinSet::new();
        for _ in 0..many.concurrency {
            let bank = self.for_one_of(many.concurrency);
            let (range, next) = (range.clone(), Arc::clone(&next));
            let (stop, ended) = (stop.clone(), ended.clone());
            workers.spawn(async move {
                let size = many.batch.map_or(1, |size| size.get() as u64);
                while !stop.is_cancelled() {
                    let first = next.fetch_add(size, Ordering::Relaxed);
                    if first >= many.count {
                        break;
                    }
                    let endings = match many.batch {
                        None => vec![bank.one_of(&many, first, range.as_ref()).await],
                        Some(_) => {
                            let numbers = first..first.saturating_add(size).min(many.count);
                            bank.some_of(&many, numbers, range.as_ref()).await
                        }
                    };
                    for ending in endings {
                        if ended.send(ending).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
        workers.detach_all();
        Ok(receiver)
    }

    async fn one_of(&self, many: &Many, number: u64, range: Option<&RangeInclusive<i64>>) -> Ended {
        match self.nth_of(many, number, range).await {
            Ok(order) => Ended::of(order, self.transfer(order, many.style).await),
            Err(ended) => ended,
        }
    }

    /// Those with these numbers, in one transaction.
    async fn some_of(
        &self,
        many: &Many,
        numbers: Range<u64>,
        range: Option<&RangeInclusive<i64>>,
    ) -> Vec<Ended> {
        let (mut orders, mut endings) = (Vec::new(), Vec::new());
        for number in numbers {
            match self.nth_of(many, number, range).await {
                Ok(order) => orders.push(order),
                Err(ended) => endings.push(ended),
            }
        }
        let outcomes = self.pay(&orders).await;
        endings.extend(orders.into_iter().zip(outcomes).map(|(order, outcome)| Ended::of(order, outcome)));
        endings
    }

    /// The order with a number, or how it ended where it cannot be drawn.
    async fn nth_of(
        &self,
        many: &Many,
        number: u64,
        range: Option<&RangeInclusive<i64>>,
    ) -> Result<Order, Ended> {
        let id = many.id(number);
        let mut rng = ChaCha8Rng::seed_from_u64(many.rng_seed);
        rng.set_stream(number);
        let order = self.order(id, many.wish, range, &mut rng).await;
        order.map_err(|error| Ended { id, order: None, outcome: Err(Unsuccessful::Draw(error)) })
    }
}
