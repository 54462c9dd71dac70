//! Picks accounts in memory, so that picking costs the server nothing.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Zipf};

use crate::bank::AccountId;

/// How accounts are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Skew {
    /// Evenly.
    Even,
    /// This many accounts, at least 2, take part in nine of ten transfers.
    Hot(usize),
    /// By Zipf's law with this exponent, above 0.
    Zipf(f64),
}

/// The share of transfers between hot accounts.
const HOT_OF_TEN: u32 = 9;

#[derive(Clone, Debug)]
pub(super) struct Pick {
    ids: Vec<i64>,
    skew: Skew,
}

impl Pick {
    /// `ids`: at least two.
    pub(super) fn new(ids: Vec<i64>, skew: Skew) -> Self {
        Self { ids, skew }
    }

    pub(super) fn two(&self, rng: &mut impl Rng) -> (AccountId, AccountId) {
        let among = match self.skew {
            Skew::Hot(hot) if rng.random_ratio(HOT_OF_TEN, 10) => hot.clamp(2, self.ids.len()),
            Skew::Hot(_) | Skew::Even | Skew::Zipf(_) => self.ids.len(),
        };
        let source = self.one(rng, among);
        let target = loop {
            let target = self.one(rng, among);
            if target != source {
                break target;
            }
        };
        (AccountId(self.ids[source]), AccountId(self.ids[target]))
    }

    fn one(&self, rng: &mut impl Rng, among: usize) -> usize {
        match self.skew {
            Skew::Zipf(exponent) => Zipf::new(among as f64, exponent)
                .map_or(0, |zipf| (zipf.sample(rng) as usize).saturating_sub(1))
                .min(among - 1),
            Skew::Even | Skew::Hot(_) => rng.random_range(0..among),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    fn drawn(skew: Skew) -> [u32; 10] {
        let pick = Pick::new((0..10).collect(), skew);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = [0; 10];
        for _ in 0..20_000 {
            let (source, target) = pick.two(&mut rng);
            assert_ne!(source, target);
            drawn[source.0 as usize] += 1;
            drawn[target.0 as usize] += 1;
        }
        drawn
    }

    #[test]
    fn accounts_are_drawn_as_asked() {
        assert!(drawn(Skew::Even).iter().all(|times| (3700..4300).contains(times)));
        let hot = drawn(Skew::Hot(2));
        assert!(hot[..2].iter().all(|times| *times > 18_000) && hot[2..].iter().all(|times| *times < 1000));
        let zipf = drawn(Skew::Zipf(1.0));
        assert!(zipf.windows(2).all(|pair| pair[0] > pair[1]), "{zipf:?}");
    }
}
