//! Spaces with more valid configurations than can be listed: each is looked at when it is met.

use rand::{Rng, RngExt};

use super::constraints::{Level, Verdict, check};
use super::parameters::Domain;

/// Partial configurations that a draw looks at before it begins anew, and draws that are begun.
const PATIENCE: u32 = 10_000;
const ATTEMPTS: u32 = 10;

/// The parameters in the order in which a draw takes them, with what is checked at each.
#[derive(Debug)]
pub(super) struct Vast {
    levels: Vec<Level>,
    raw: u64,
    /// Zeros for the parameters, then the sizes.
    blank: Vec<i64>,
}

impl Vast {
    pub(super) fn new(levels: Vec<Level>, raw: u64, sizes: &[i64]) -> Self {
        let blank = levels.iter().map(|_| 0).chain(sizes.iter().copied()).collect();
        Self { levels, raw, blank }
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
