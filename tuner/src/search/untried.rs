//! What was not tried yet.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Points;
use super::permutation::Permutation;

/// Draws at random before the rest is looked through in order.
const DRAWS: usize = 20;

/// So many draws in a row that were tried before are the end, where there is no order.
const REPEATS: usize = 1000;

/// The configurations that a strategy may still ask: known-good ones first, the rest in a random order.
pub(super) struct Untried {
    points: Arc<dyn Points + Send + Sync>,
    first: VecDeque<usize>,
    rest: Rest,
    /// Only asked for membership: its order is not that of the elements.
    tried: HashSet<usize>,
}

/// Where the next in a random order comes from.
enum Rest {
    /// A permutation of all, and how far it was followed.
    Ordered(Permutation, usize),
    /// There are too many for that: draws, of which hardly one comes twice.
    Drawn(Box<ChaCha8Rng>),
}

impl Untried {
    pub(super) fn new(points: Arc<dyn Points + Send + Sync>, first: &[usize], seed: u64) -> Self {
        let seed = seed.wrapping_add(1);
        let rest = if points.is_listed() {
            Rest::Ordered(Permutation::new(points.len(), seed), 0)
        } else {
            Rest::Drawn(Box::new(ChaCha8Rng::seed_from_u64(seed)))
        };
        Self { first: first.iter().copied().collect(), rest, tried: HashSet::new(), points }
    }

    pub(super) fn points(&self) -> &Arc<dyn Points + Send + Sync> {
        &self.points
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        !self.tried.contains(&index) && self.points.contains(index)
    }

    /// Takes a configuration out; whether it was in.
    pub(super) fn take(&mut self, index: usize) -> bool {
        self.points.contains(index) && self.tried.insert(index)
    }

    /// Takes the next of those that are to be asked first.
    pub(super) fn take_first(&mut self) -> Option<usize> {
        while let Some(index) = self.first.pop_front() {
            if self.take(index) {
                return Some(index);
            }
        }
        None
    }

    /// Takes the next in a random order that covers all, or another one at random where they are not listed; none when all
    /// are tried, or nothing else was found.
    pub(super) fn take_any(&mut self) -> Option<usize> {
        if let Rest::Drawn(rng) = &mut self.rest {
            let draws = (0..REPEATS + 2 * self.tried.len()).map_while(|_| self.points.sample(rng.as_mut()));
            return draws.into_iter().find(|&index| self.tried.insert(index));
        }
        loop {
            let Rest::Ordered(order, cursor) = &mut self.rest else { return None };
            let index = order.at(*cursor)?;
            *cursor += 1;
            if self.take(index) {
                return Some(index);
            }
        }
    }

    /// A random one that stays in; none when (nearly) all are tried.
    pub(super) fn draw(&self, rng: &mut dyn Rng) -> Option<usize> {
        (0..DRAWS).map_while(|_| self.points.sample(rng)).find(|index| !self.tried.contains(index))
    }

    /// Those among the neighbours of a configuration.
    pub(super) fn neighbours(&self, index: usize) -> Vec<usize> {
        let mut neighbours = self.points.neighbours(index);
        neighbours.retain(|&index| self.contains(index));
        neighbours
    }
}
