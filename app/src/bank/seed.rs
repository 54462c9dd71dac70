//! Adding accounts with random numbers and balances, in chunks, each applied once.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm::DbErr;
use transaction::{Error, Tx};
use uuid::Uuid;

use super::accounts::{NewAccount, insert_new};
use super::batch::{Batch, BatchError, apply_once};
use super::{AccountId, Bank};

/// Account numbers are drawn below this, as in the tutorial.
pub const ID_LIMIT: i64 = 1_000_000_000;
/// Opening balances are drawn below this, as in the tutorial.
pub const BALANCE_LIMIT: i64 = 1_000_000;

/// What to add.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// How many accounts.
    pub count: u64,
    /// How many of them in each transaction.
    pub chunk: u64,
    /// The run's own id: told again with the same one, a run adds only what it has not added yet.
    pub run: Uuid,
    /// What the draws start from.
    pub rng_seed: u64,
}

/// What was added so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Accounts added by this call.
    pub created: u64,
    /// Accounts that an earlier call with the same run had added.
    pub found: u64,
    /// Drawn numbers that were taken already, and drawn again.
    pub collisions: u64,
    /// Chunks in place, whoever added them.
    pub chunks: u64,
}

/// Why not all accounts were added. The chunks before it stay.
pub type SeedError = Error<BatchError>;

impl Bank {
    /// Adds accounts, chunk by chunk, telling `progress` after each; stops between two where it says so.
    ///
    /// # Errors
    ///
    /// A [`SeedError`], with what was added before it.
    pub async fn seed(
        &self,
        seed: Seed,
        mut progress: impl FnMut(Seeded) -> ControlFlow<()>,
    ) -> Result<Seeded, (SeedError, Seeded)> {
        let mut done = Seeded::default();
        for number in 0..seed.count.div_ceil(seed.chunk) {
            let rows = seed.chunk.min(seed.count - number * seed.chunk);
            let batch = Batch::of_run(seed.run, "seed", number, rows);
            let added = apply_once(&self.runner, batch, async |tx: &Tx| {
                add(tx, chunk_rng(&seed, number), rows).await
            })
            .await
            .map_err(|error| (error, done))?;
            match added {
                Some(collisions) => {
                    done.created += rows;
                    done.collisions += collisions;
                }
                None => done.found += rows,
            }
            done.chunks += 1;
            if progress(done).is_break() {
                break;
            }
        }
        Ok(done)
    }
}

/// Each chunk has a stream of its own: what one draws depends on no other, nor on how often it is tried.
fn chunk_rng(seed: &Seed, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.rng_seed);
    rng.set_stream(number);
    rng
}

/// Adds exactly `rows` accounts; answers with how many drawn numbers were taken.
async fn add(tx: &Tx, mut rng: ChaCha8Rng, rows: u64) -> Result<u64, DbErr> {
    let mut drawn = HashSet::new();
    let mut missing = rows;
    let mut collisions = 0;
    while missing > 0 {
        let mut new = Vec::new();
        while (new.len() as u64) < missing {
            let id = rng.random_range(0..ID_LIMIT);
            let balance = rng.random_range(0..BALANCE_LIMIT);
            if drawn.insert(id) {
                new.push(NewAccount { id: AccountId(id), balance });
            } else {
                collisions += 1;
            }
        }
        let added = insert_new(tx, &new).await?;
        collisions += missing - added;
        missing -= added;
    }
    Ok(collisions)
}
