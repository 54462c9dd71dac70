//! A queue for chunks that would conflict in the database: each waits for earlier ones that share
//! an account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use database::Server;
use tokio_util::sync::CancellationToken;

/// The chunks under way and waiting, in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Vec<Arc<Chunk>>>);

#[derive(Debug)]
struct Chunk {
    /// Sorted.
    accounts: Vec<i64>,
    /// Cancelled when the chunk has ended.
    over: CancellationToken,
}

/// A chunk's place in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    gate: Arc<Gate>,
    chunk: Arc<Chunk>,
}

impl Gate {
    /// Waits for a chunk's turn. `accounts` is sorted.
    ///
    /// On PostgreSQL any two chunks conflict: SERIALIZABLE locks the whole relation after 32 rows
    /// (`max_pred_locks_per_relation`).
    pub(crate) async fn turn(self: &Arc<Self>, server: Server, accounts: Vec<i64>) -> Turn {
        let chunk = Arc::new(Chunk { accounts, over: CancellationToken::new() });
        let before: Vec<CancellationToken> = {
            let mut chunks = self.chunks();
            let met =
                |other: &&Arc<Chunk>| server == Server::Postgres || meet(&chunk.accounts, &other.accounts);
            let before = chunks.iter().filter(met).map(|other| other.over.clone()).collect();
            chunks.push(Arc::clone(&chunk));
            before
        };
        // If the future is dropped while it waits, the chunk has ended.
        let turn = Turn { gate: Arc::clone(self), chunk };
        for over in before {
            over.cancelled().await;
        }
        turn
    }

    fn chunks(&self) -> MutexGuard<'_, Vec<Arc<Chunk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate.chunks().retain(|chunk| !Arc::ptr_eq(chunk, &self.chunk));
        self.chunk.over.cancel();
    }
}

/// Whether two sorted lists share a number.
fn meet(mut one: &[i64], mut other: &[i64]) -> bool {
    while let ([a, rest_of_one @ ..], [b, rest_of_other @ ..]) = (one, other) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => one = rest_of_one,
            std::cmp::Ordering::Greater => other = rest_of_other,
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_chunk_waits_for_those_before_it_that_it_meets() {
        let gate = Arc::new(Gate::default());
        let enter = |server, accounts: &[i64]| {
            let (gate, accounts) = (Arc::clone(&gate), accounts.to_vec());
            Box::pin(async move { gate.turn(server, accounts).await })
        };
        let first = enter(Server::Cockroach, &[1, 5]).now_or_never().expect("nobody is before it");
        let mut met = enter(Server::Cockroach, &[2, 5, 9]);
        assert!((&mut met).now_or_never().is_none());
        let alone = enter(Server::Cockroach, &[3, 4]).now_or_never().expect("it meets nobody");
        // It waits for a waiting chunk, but not for a dropped one.
        let mut behind = enter(Server::Cockroach, &[9]);
        assert!((&mut behind).now_or_never().is_none());
        drop(met);
        assert!((&mut behind).now_or_never().is_some());

        let mut postgres = enter(Server::Postgres, &[100]);
        assert!((&mut postgres).now_or_never().is_none());
        drop(first);
        assert!((&mut postgres).now_or_never().is_none());
        drop(alone);
        assert!((&mut postgres).now_or_never().is_some());
    }
}
