//! Draws the accounts that a request leaves out.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

use super::{Order, TransferRequest};
use crate::bank::lookup::accounts_from;
use crate::bank::panic::caught;
use crate::bank::{AccountId, Bank, Panicked, ReadError};

/// Why no transfer could be drawn.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DrawError {
    /// The bank has fewer than two accounts.
    #[error("the bank has fewer than two accounts")]
    TooFewAccounts,
    /// A read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The program panicked. Nothing was begun.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// The id and the random numbers of a run's transfer, the same whenever the run is repeated.
pub(in crate::bank) fn numbered(run: &Uuid, rng_seed: u64, number: u64) -> (Uuid, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
    rng.set_stream(number);
    (Uuid::new_v5(run, format!("transfer/{number}").as_bytes()), rng)
}

impl Bank {
    /// Completes a request with accounts drawn from those with numbers in `range`.
    ///
    /// # Errors
    ///
    /// A [`DrawError`]; nothing is changed.
    pub async fn order(
        &self,
        id: Uuid,
        request: TransferRequest,
        range: Option<&RangeInclusive<i64>>,
        rng: &mut impl Rng,
    ) -> Result<Order, DrawError> {
        let orders = self.orders(request, range, [(id, rng)]).await?;
        orders.into_iter().next().ok_or(DrawError::TooFewAccounts)
    }

    pub(super) async fn orders<R: Rng>(
        &self,
        request: TransferRequest,
        range: Option<&RangeInclusive<i64>>,
        ids: impl IntoIterator<Item = (Uuid, R)>,
    ) -> Result<Vec<Order>, DrawError> {
        if let (Some(source), Some(target)) = (request.source, request.target) {
            return Ok(ids.into_iter().map(|(id, _)| Order::new(id, source, target, request)).collect());
        }
        let range = range.ok_or(DrawError::TooFewAccounts)?;
        let draws: Vec<_> =
            ids.into_iter().map(|(id, mut rng)| (id, Draw::new(request, range, &mut rng))).collect();
        let numbers = draws.iter().flat_map(|(_, draw)| draw.numbers());
        let mut numbers: Vec<i64> = numbers.chain([i64::MIN]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let reading = self.runner.query("draw accounts", async |tx| accounts_from(tx, &numbers).await);
        let found = caught(reading).await??;
        let order = |(id, draw): (Uuid, Draw)| {
            let (source, target) = draw.accounts(&found)?;
            Some(Order::new(id, source, target, request))
        };
        draws.into_iter().map(order).collect::<Option<_>>().ok_or(DrawError::TooFewAccounts)
    }
}

/// Draws the first account at or after a random number. One after a gap is drawn more often. The
/// roles are random, so that no account is drained.
struct Draw {
    source: Option<AccountId>,
    target: Option<AccountId>,
    first: i64,
    second: i64,
    swap: bool,
}

impl Draw {
    fn new(request: TransferRequest, range: &RangeInclusive<i64>, rng: &mut impl Rng) -> Self {
        let TransferRequest { source, target, .. } = request;
        let (first, second) = (rng.random_range(range.clone()), rng.random_range(range.clone()));
        let swap = rng.random::<bool>() && source.is_none() && target.is_none();
        Self { source, target, first, second, swap }
    }

    fn numbers(&self) -> impl Iterator<Item = i64> + use<> {
        let source = self.source.is_none().then_some(self.first);
        source.into_iter().chain(self.target.is_none().then_some(self.second))
    }

    /// The source and the target; `None` in a bank with fewer than two accounts.
    fn accounts(&self, found: &HashMap<i64, Vec<i64>>) -> Option<(AccountId, AccountId)> {
        let sought = |from: i64, other: Option<AccountId>| {
            let found = [from, i64::MIN].into_iter().filter_map(|number| found.get(&number)).flatten();
            found.copied().map(AccountId).find(|id| Some(*id) != other)
        };
        let source = self.source.or_else(|| sought(self.first, self.target))?;
        let target = self.target.or_else(|| sought(self.second, Some(source)))?;
        Some(if self.swap { (target, source) } else { (source, target) })
    }
}
