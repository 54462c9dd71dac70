//! Random accounts. A number that is taken is drawn again, so the requested count is reached.

use std::collections::{HashSet, VecDeque};
use std::ops::AddAssign;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use sea_orm::DbErr;
use sea_orm_retry::Tx;
use uuid::Uuid;

use super::accounts::{NewAccount, TABLE, insert_new};
use super::load::{Load, LoadError, Loaded, Loading, Part, Stopped, chunks, load};
use super::{AccountId, Bank};

/// Account numbers are below this, as in the tutorial.
pub const ID_LIMIT: i64 = 1_000_000_000;
/// Opening balances are below this, as in the tutorial.
pub const BALANCE_LIMIT: i64 = 1_000_000;

/// Draws of taken numbers, which were repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collisions(pub u64);

impl AddAssign for Collisions {
    fn add_assign(&mut self, more: Self) {
        self.0 += more.0;
    }
}

struct Seed {
    rng_seed: u64,
}

impl Load for Seed {
    type Row = NewAccount;
    type Done = Collisions;
    const KIND: &'static str = "seed";

    async fn add(&self, tx: &Tx, part: &Part<'_>, rows: &[NewAccount]) -> Result<Collisions, LoadError> {
        let mut missing = rows.len() as u64 - insert_in_order(tx, rows.to_vec()).await?;
        let mut collisions = missing;
        let mut rng = self.redraw(part.name);
        while missing > 0 {
            let again = (0..missing).map(|_| draw(&mut rng)).collect();
            let added = insert_in_order(tx, again).await?;
            missing -= added;
            collisions += missing;
        }
        Ok(Collisions(collisions))
    }

    async fn look_up(&self, _: &Tx, _: &Part<'_>, _: &[NewAccount]) -> Result<Collisions, LoadError> {
        Ok(Collisions::default())
    }
}

impl Seed {
    /// The redraws of a chunk depend on no other chunk and no earlier attempt.
    fn redraw(&self, name: &str) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.rng_seed);
        let (high, low) = Uuid::new_v5(&Uuid::nil(), name.as_bytes()).as_u64_pair();
        // Stream 0 belongs to the first draws.
        rng.set_stream((high ^ low).max(1));
        rng
    }
}

/// Sorted, so that chunks with the same numbers do not deadlock.
async fn insert_in_order(tx: &Tx, mut rows: Vec<NewAccount>) -> Result<u64, DbErr> {
    rows.sort_unstable_by_key(|row| row.id);
    insert_new(tx, &rows).await
}

fn draw(rng: &mut impl Rng) -> NewAccount {
    NewAccount { id: AccountId(rng.random_range(0..ID_LIMIT)), balance: rng.random_range(0..BALANCE_LIMIT) }
}

/// Numbers are unique among this many consecutive draws: those of concurrent chunks.
const APART: usize = 1 << 16;

/// Endless accounts, unique among the last [`APART`]. Otherwise every fourth of four concurrent
/// chunks of 10 000 would conflict.
struct Draws {
    rng: ChaCha8Rng,
    last: VecDeque<AccountId>,
    numbers: HashSet<AccountId>,
}

impl Draws {
    fn new(rng_seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(rng_seed), last: VecDeque::new(), numbers: HashSet::new() }
    }
}

impl Iterator for Draws {
    type Item = NewAccount;

    fn next(&mut self) -> Option<NewAccount> {
        loop {
            let account = draw(&mut self.rng);
            if !self.numbers.insert(account.id) {
                continue;
            }
            self.last.push_back(account.id);
            if self.last.len() > APART
                && let Some(first) = self.last.pop_front()
            {
                self.numbers.remove(&first);
            }
            return Some(account);
        }
    }
}

impl Bank {
    /// Adds accounts, drawn from `rng_seed`, and calls `progress` after each chunk.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub async fn seed(
        &self,
        count: u64,
        rng_seed: u64,
        loading: &Loading,
        progress: impl FnMut(&Loaded<Collisions>),
    ) -> Result<Loaded<Collisions>, Stopped<Collisions>> {
        let accounts = Draws::new(rng_seed).take(usize::try_from(count).unwrap_or(usize::MAX));
        let seed = Seed { rng_seed };
        let loaded = load(&self.runner, &seed, loading, chunks(accounts, loading.chunk), progress).await?;
        self.rows_added(TABLE.name).await;
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without [`Draws`] some ten would repeat in a stretch.
    #[test]
    fn draws_near_each_other_differ() {
        let numbers: Vec<_> = Draws::new(1).take(5 * APART).map(|account| account.id).collect();
        for stretch in numbers.chunks(APART) {
            assert_eq!(stretch.iter().collect::<HashSet<_>>().len(), APART);
        }
        let repeated = numbers.len() - numbers.iter().collect::<HashSet<_>>().len();
        assert!(repeated > 0, "those further apart may be the same");
        assert!(numbers == Draws::new(1).take(5 * APART).map(|account| account.id).collect::<Vec<_>>());
    }
}
