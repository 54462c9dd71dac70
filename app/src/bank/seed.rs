//! Adding accounts with random numbers and balances. A number that is taken is drawn again, so the asked-for count is
//! always reached.

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

/// Account numbers are drawn below this, as in the tutorial.
pub const ID_LIMIT: i64 = 1_000_000_000;
/// Opening balances are drawn below this, as in the tutorial.
pub const BALANCE_LIMIT: i64 = 1_000_000;

/// Drawn numbers that were taken already, and drawn again.
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

    async fn look(&self, _: &Tx, _: &Part<'_>, _: &[NewAccount]) -> Result<Collisions, LoadError> {
        Ok(Collisions::default())
    }
}

impl Seed {
    /// What a chunk draws again depends on no other, nor on how often it is tried.
    fn redraw(&self, name: &str) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.rng_seed);
        let (high, low) = Uuid::new_v5(&Uuid::nil(), name.as_bytes()).as_u64_pair();
        // Stream 0 is that of the first draws.
        rng.set_stream((high ^ low).max(1));
        rng
    }
}

/// In the order of their numbers: two chunks that drew the same ones wait for each other one way only.
async fn insert_in_order(tx: &Tx, mut rows: Vec<NewAccount>) -> Result<u64, DbErr> {
    rows.sort_unstable_by_key(|row| row.id);
    insert_new(tx, &rows).await
}

fn draw(rng: &mut impl Rng) -> NewAccount {
    NewAccount { id: AccountId(rng.random_range(0..ID_LIMIT)), balance: rng.random_range(0..BALANCE_LIMIT) }
}

/// How many of the last draws have numbers of their own: those of the chunks that are on their way at once.
const APART: usize = 1 << 16;

/// Accounts without end, none with the number of one of the last [`APART`]. A chunk that meets the number of another on its
/// way has to begin anew: of chunks of ten thousand, four at once, every fourth did.
struct Draws {
    rng: ChaCha8Rng,
    /// In the order of the draws.
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
    /// Adds so many accounts, telling `progress` after each chunk. What is drawn follows from `rng_seed`.
    ///
    /// # Errors
    ///
    /// As any load: [`Stopped`].
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

    /// Without it some ten of so many draws would repeat another of the same stretch.
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
