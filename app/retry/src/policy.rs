//! A run's limits, isolation and pauses.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::{Isolation, Server};

/// The restarts from a savepoint of a run that has its turn.
const TURN_RESTARTS: u32 = 4;

/// When the runner tries again, when it stops, and how its transactions begin. Attempts and time
/// bound a run, whichever ends first. Set single fields: `Policy { attempts_max: 5,
/// ..Policy::default() }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most attempts of one run, the first and restarts from the savepoint included; at least
    /// 1.
    pub attempts_max: u32,
    /// No attempt begins, and no pause ends, later than this after the run began.
    pub total_time: Duration,
    /// The longest wait for one answer: a connection, a statement, a COMMIT. What takes longer
    /// counts as a lost connection. On SQLite the statement runs on, and its connection is busy
    /// until it ends.
    pub answer_deadline: Duration,
    /// The bound of the first pause; it doubles with each retry.
    pub pause_first: Duration,
    /// The bound of every pause.
    pub pause_max: Duration,
    /// A run that has had this many conflicts gets its turn: half of its pauses, at random, are
    /// bounded by `pause_first`, so that it comes back before runs that back off. On CockroachDB it
    /// also restarts from a savepoint (see `savepoint_restarts`) and keeps its locks.
    pub turn_after: u32,
    /// The isolation that BEGIN names in `run` and `run_idempotent`.
    ///
    /// - SERIALIZABLE: the result is that of some order of whole transactions.
    /// - REPEATABLE READ: one snapshot for all reads. It allows write skew: two transactions that
    ///   each read what the other writes can both commit.
    /// - READ COMMITTED: a snapshot for each statement. It loses updates as well: a value that was
    ///   read can be outdated when it is written back.
    /// - READ UNCOMMITTED: the same as READ COMMITTED on PostgreSQL.
    ///
    /// CockroachDB runs a level that it does not have, or that its cluster does not allow, at a
    /// stronger one; v20.2 and v22.1 have SERIALIZABLE alone. SQLite's BEGIN names no level: it has
    /// one, which is serializable.
    pub isolation: Isolation,
    /// Begin `run` and `run_idempotent` READ ONLY.
    pub read_only: bool,
    /// PostgreSQL: end a transaction that a lost connection left open before trying again. BEGIN
    /// then also asks which transaction it is, in the same round trip, for 25 to 30 µs of the
    /// server's processor. Without it the server's `idle_in_transaction_session_timeout` is set to
    /// `answer_deadline` for the transaction.
    pub end_orphans: bool,
    /// Send every statement unnamed, with one round trip more: for poolers in transaction mode.
    /// Only what goes through runners is: use the pool for nothing else.
    pub unnamed_statements: bool,
    /// CockroachDB's client-side retry protocol: after `SAVEPOINT cockroach_restart`, how often the
    /// body is restarted by `ROLLBACK TO` before the transaction is begun anew. `None` leaves the
    /// savepoint out until `turn_after`. Refused on every other server, where releasing a savepoint
    /// commits nothing.
    pub savepoint_restarts: Option<u32>,
    /// CockroachDB: how old the snapshots of `read` are; `None` for the present. Refused on every
    /// other server.
    pub read_as_of: Option<Duration>,
    /// A run's conflicts are logged at DEBUG until it has failed this often, then at WARN.
    pub warn_after: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // Time ends first: with full pauses these take four minutes.
            attempts_max: 1000,
            total_time: Duration::from_secs(60),
            answer_deadline: Duration::from_secs(35),
            pause_first: Duration::from_millis(2),
            pause_max: Duration::from_millis(500),
            turn_after: 8,
            isolation: Isolation::Serializable,
            read_only: false,
            end_orphans: true,
            unnamed_statements: false,
            savepoint_restarts: None,
            read_as_of: None,
            warn_after: 5,
        }
    }
}

impl Policy {
    /// The pause before the retry with this number (the first is 1): uniform between zero and a
    /// bound that doubles ("full jitter", Marc Brooker, AWS Architecture Blog, 2015), so that
    /// rivals do not meet again. `lost`: how many attempts lost to others; from `turn_after` on
    /// every other pause is as short as a first one.
    pub fn pause(&self, retry: u32, lost: u32, rng: &mut impl Rng) -> Duration {
        // Not every pause, so that two runs that have their turn do not keep meeting.
        let at_once = lost >= self.turn_after && rng.random();
        rng.random_range(Duration::ZERO..=self.pause_bound(if at_once { 1 } else { retry }))
    }

    /// The restarts from a savepoint, for a run with this many conflicts; `None` without a
    /// savepoint.
    pub(crate) fn restarts(&self, server: Server, lost: u32) -> Option<u32> {
        let has_its_turn = server == Server::Cockroach && lost >= self.turn_after;
        self.savepoint_restarts.max(has_its_turn.then_some(TURN_RESTARTS))
    }

    /// Why this policy cannot be kept on a server.
    pub(crate) fn unsupported(&self, server: Server) -> Option<&'static str> {
        match (server, self.savepoint_restarts, self.read_as_of) {
            (Server::Cockroach, ..) | (_, None, None) => None,
            (_, Some(_), _) => Some("savepoint restarts are CockroachDB's: leave them out on this server"),
            (_, _, Some(_)) => Some("reading the past is CockroachDB's: leave it out on this server"),
        }
    }

    fn pause_bound(&self, retry: u32) -> Duration {
        let doubled = self.pause_first.saturating_mul(2_u32.saturating_pow(retry.saturating_sub(1)));
        doubled.min(self.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn a_pause_is_within_its_bound(first_us in 0_u64..1_000_000, max_us in 0_u64..10_000_000, retry in 1_u32..=u32::MAX) {
            let policy = Policy {
                pause_first: Duration::from_micros(first_us),
                pause_max: Duration::from_micros(max_us),
                ..Policy::default()
            };
            let exact = u128::from(first_us).saturating_mul(1_u128.checked_shl(retry - 1).unwrap_or(u128::MAX));
            let bound = exact.min(u128::from(max_us));
            prop_assert_eq!(policy.pause_bound(retry).as_micros(), bound);
            prop_assert!(policy.pause(retry, 0, &mut rand::rng()).as_micros() <= bound);
        }

        /// A run that has lost often comes back soon every other time, and never hammers: the
        /// attempts still outlast the time.
        #[test]
        fn a_run_that_has_lost_often_gets_its_turn(turn_after in 1_u32..50, more in 0_u32..1000, seed: u64) {
            let policy = Policy { turn_after, ..Policy::default() };
            let mut rng = StdRng::seed_from_u64(seed);
            let (lost, draws) = (turn_after + more, 2_000_u32);
            let pauses = |lost, rng: &mut StdRng| -> Vec<Duration> {
                (0..draws).map(|_| policy.pause(20, lost, rng)).collect()
            };
            let soon = |pauses: &[Duration]| pauses.iter().filter(|pause| **pause <= policy.pause_first).count();
            prop_assert!(soon(&pauses(turn_after - 1, &mut rng)) < 40);
            let old = pauses(lost, &mut rng);
            prop_assert!((850..1_200).contains(&soon(&old)), "{}", soon(&old));
            prop_assert!(old.iter().all(|pause| *pause <= policy.pause_max));
            let mean = old.iter().sum::<Duration>() / draws;
            prop_assert!(mean * policy.attempts_max > policy.total_time, "{mean:?}");
        }
    }

    #[test]
    fn a_run_that_has_lost_often_restarts_from_a_savepoint_on_cockroachdb_alone() {
        let plain = Policy::default();
        let asked = Policy { savepoint_restarts: Some(2), ..Policy::default() };
        let (before, turn) = (plain.turn_after - 1, plain.turn_after);
        assert_eq!(plain.restarts(Server::Cockroach, before), None);
        assert_eq!(plain.restarts(Server::Cockroach, turn), Some(TURN_RESTARTS));
        assert_eq!(asked.restarts(Server::Cockroach, before), Some(2));
        assert_eq!(asked.restarts(Server::Cockroach, turn), Some(TURN_RESTARTS));
        for server in [Server::Postgres, Server::Sqlite] {
            assert_eq!(plain.restarts(server, u32::MAX), None);
        }
    }

    #[test]
    fn pauses_are_spread_over_their_whole_range() {
        let policy = Policy {
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(1),
            ..Policy::default()
        };
        let mut rng = rand::rng();
        let below_a_tenth =
            (0..10_000).filter(|_| policy.pause(1, 0, &mut rng) < Duration::from_millis(100)).count();
        let above_nine_tenths =
            (0..10_000).filter(|_| policy.pause(1, 0, &mut rng) > Duration::from_millis(900)).count();
        assert!((500..2_000).contains(&below_a_tenth), "{below_a_tenth}");
        assert!((500..2_000).contains(&above_nine_tenths), "{above_nine_tenths}");
    }
}
