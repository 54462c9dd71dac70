//! Many transfers at once, by workers that take numbers in turn.

use std::ops::RangeInclusive;
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
                while !stop.is_cancelled() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= many.count {
                        break;
                    }
                    if ended.send(bank.one_of(&many, number, range.as_ref()).await).await.is_err() {
                        break;
                    }
                }
            });
        }
        workers.detach_all();
        Ok(receiver)
    }

    async fn one_of(&self, many: &Many, number: u64, range: Option<&RangeInclusive<i64>>) -> Ended {
        let id = many.id(number);
        let mut rng = ChaCha8Rng::seed_from_u64(many.rng_seed);
        rng.set_stream(number);
        match self.order(id, many.wish, range, &mut rng).await {
            Ok(order) => {
                let outcome = self.transfer(order, many.style).await.map_err(Unsuccessful::Transfer);
                Ended { id, order: Some(order), outcome }
            }
            Err(error) => Ended { id, order: None, outcome: Err(Unsuccessful::Draw(error)) },
        }
    }
}
