//! Many transfers, by workers that take numbers in turn.

use std::num::NonZero;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DrawError, Order, Receipt, Style, TransferError, TransferRequest, numbered};
use crate::bank::{Bank, ReadError};

/// The parameters of many transfers.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// How many, numbered from 0.
    pub count: u64,
    /// How many at once, at least 1.
    pub concurrency: u32,
    /// The run's id. A repeated run does only what is missing.
    pub run: Uuid,
    /// What each one is.
    pub request: TransferRequest,
    /// The style.
    pub style: Style,
    /// How many in one transaction, by [`Bank::pay`] instead of the style.
    pub batch: Option<NonZero<usize>>,
    /// The seed. Each transfer has a stream of its own.
    pub rng_seed: u64,
}

/// How one of them ended.
#[derive(Debug)]
pub struct Ended {
    /// Its id.
    pub id: Uuid,
    /// The order; `None` if it could not be drawn.
    pub order: Option<Order>,
    /// The outcome.
    pub outcome: Result<Receipt, Unsuccessful>,
}

/// Why a transfer is not known to be applied.
#[derive(Debug, thiserror::Error)]
pub enum Unsuccessful {
    /// It could not be drawn, and was not begun.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// It failed or is unknown.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl Ended {
    fn of(order: Order, outcome: Result<Receipt, TransferError>) -> Self {
        Self { id: order.id, order: Some(order), outcome: outcome.map_err(Unsuccessful::Transfer) }
    }

    fn undrawn(id: Uuid, error: DrawError) -> Self {
        Self { id, order: None, outcome: Err(Unsuccessful::Draw(error)) }
    }
}

impl Many {
    /// The id of the transfer with this number.
    #[must_use]
    pub fn id(&self, number: u64) -> Uuid {
        self.numbered(number).0
    }

    fn numbered(&self, number: u64) -> (Uuid, ChaCha8Rng) {
        numbered(&self.run, self.rng_seed, number)
    }
}

impl Bank {
    /// Starts them and sends how each ended, in no order. Cancel `stop` to begin no further one.
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
        let range = if many.request.is_complete() { None } else { self.account_range().await? };
        let next = Arc::new(AtomicU64::new(0));
        let (ended, receiver) = mpsc::channel(1024);
        let mut workers = JoinSet::new();
        for _ in 0..many.concurrency {
            let bank = self.worker_among(many.concurrency);
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
        let (id, mut rng) = many.numbered(number);
        match self.order(id, many.request, range, &mut rng).await {
            Ok(order) => Ended::of(order, self.transfer(order, many.style).await),
            Err(error) => Ended::undrawn(id, error),
        }
    }

    async fn some_of(
        &self,
        many: &Many,
        numbers: Range<u64>,
        range: Option<&RangeInclusive<i64>>,
    ) -> Vec<Ended> {
        let drawn =
            self.orders(many.request, range, numbers.clone().map(|number| many.numbered(number))).await;
        match drawn {
            Ok(orders) => {
                let outcomes = self.pay(&orders).await;
                orders.into_iter().zip(outcomes).map(|(order, outcome)| Ended::of(order, outcome)).collect()
            }
            Err(error) => numbers.map(|number| Ended::undrawn(many.id(number), error.clone())).collect(),
        }
    }
}
