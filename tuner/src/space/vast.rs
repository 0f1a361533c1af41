//! Spaces with more valid configurations than can be listed: each is looked at when it is met.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::constraints::{Level, Verdict, check};
use super::parameters::Domain;

/// Partial configurations that a draw looks at before it begins anew, and draws that are begun.
const PATIENCE: u32 = 10_000;
const ATTEMPTS: u32 = 3;
/// Draws that must find something for a space to be searched in this way.
const PROOF: usize = 32;

/// The parameters in the order in which a draw takes them, with what is checked at each.
#[derive(Debug)]
pub(super) struct Vast {
    levels: Vec<Level>,
    raw: u64,
    /// Zeros for the parameters, then the sizes.
    blank: Vec<i64>,
    /// A rank that is there.
    first: u64,
}

impl Vast {
    /// None where valid configurations are too hard to find by chance.
    pub(super) fn new(levels: Vec<Level>, raw: u64, sizes: &[i64]) -> Option<Self> {
        let blank = levels.iter().map(|_| 0).chain(sizes.iter().copied()).collect();
        let mut vast = Self { levels, raw, blank, first: 0 };
        // The seed is fixed: the same job is judged alike everywhere.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn: Option<Vec<u64>> = (0..PROOF).map(|_| vast.sample(&mut rng)).collect();
        vast.first = drawn?.into_iter().min()?;
        Some(vast)
    }

    /// A rank that is there, always the same.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Whether the configuration of this rank is valid.
    pub(super) fn contains(&self, rank: u64, domains: &[Domain]) -> bool {
        if rank >= self.raw {
            return false;
        }
        let mut values = self.blank.clone();
        for level in &self.levels {
            let domain = &domains[level.slot];
            let part = domain.digit(rank) as u64 * domain.stride;
            // The values that the parameter's own constraints let through, by their part of the rank.
            let Ok(place) = level.values.binary_search_by_key(&part, |&(_, part)| part) else { return false };
            values[level.slot] = level.values[place].0;
        }
        self.levels.iter().all(|level| check(&level.constraints, &values) == Verdict::Valid)
    }

    /// The rank of a random valid configuration. Every one can be drawn, but where constraints leave more room
    /// in one place than in another not with the same probability. None where constraints leave so little that
    /// none is found.
    pub(super) fn sample(&self, rng: &mut dyn Rng) -> Option<u64> {
        (0..ATTEMPTS).find_map(|_| self.attempt(rng))
    }

    /// A depth-first walk that takes every parameter's values in a random order, and its first leaf.
    fn attempt(&self, rng: &mut dyn Rng) -> Option<u64> {
        let mut values = self.blank.clone();
        let mut ranges = vec![(0, 0); self.levels.len()];
        for level in &self.levels {
            ranges[level.slot] = level.range;
        }
        // Of each level that was entered: the values that are left, and the rank so far.
        let mut left: Vec<(Vec<usize>, u64)> = vec![(self.all(0), 0)];
        for _ in 0..PATIENCE {
            let depth = left.len() - 1;
            let level = &self.levels[depth];
            let (places, rank) = left.last_mut()?;
            if places.is_empty() {
                ranges[level.slot] = level.range;
                left.pop();
                if left.is_empty() {
                    return None;
                }
                continue;
            }
            let (value, part) = level.values[places.swap_remove(rng.random_range(0..places.len()))];
            let rank = *rank + part;
            values[level.slot] = value;
            ranges[level.slot] = (value, value);
            let hopeless = || level.pending.iter().any(|constraint| constraint.is_false_within(&ranges));
            if check(&level.constraints, &values) != Verdict::Valid || hopeless() {
                continue;
            }
            if depth + 1 == self.levels.len() {
                return Some(rank);
            }
            left.push((self.all(depth + 1), rank));
        }
        None
    }

    fn all(&self, depth: usize) -> Vec<usize> {
        (0..self.levels[depth].values.len()).collect()
    }
}
