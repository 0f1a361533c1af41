//! What was not tried yet.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use rand::{Rng, RngExt};

use super::Points;
use super::permutation::Permutation;

/// Draws at random before the rest is looked through in order.
const DRAWS: usize = 20;

/// The configurations that a strategy may still ask: known-good ones first, the rest in a random order.
pub(super) struct Untried {
    points: Arc<dyn Points + Send + Sync>,
    first: VecDeque<usize>,
    order: Permutation,
    cursor: usize,
    /// Only asked for membership: its order is not that of the elements.
    tried: HashSet<usize>,
}

impl Untried {
    pub(super) fn new(points: Arc<dyn Points + Send + Sync>, first: &[usize], seed: u64) -> Self {
        let order = Permutation::new(points.len(), seed.wrapping_add(1));
        Self { first: first.iter().copied().collect(), order, cursor: 0, tried: HashSet::new(), points }
    }

    pub(super) fn points(&self) -> &Arc<dyn Points + Send + Sync> {
        &self.points
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        index < self.points.len() && !self.tried.contains(&index)
    }

    /// Takes a configuration out; whether it was in.
    pub(super) fn take(&mut self, index: usize) -> bool {
        index < self.points.len() && self.tried.insert(index)
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

    /// Takes the next in a random order that covers all; none when all are tried.
    pub(super) fn take_any(&mut self) -> Option<usize> {
        loop {
            let index = self.order.at(self.cursor)?;
            self.cursor += 1;
            if self.take(index) {
                return Some(index);
            }
        }
    }

    /// A random one that stays in; none when (nearly) all are tried.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        let len = self.points.len();
        (len > 0)
            .then(|| (0..DRAWS).map(|_| rng.random_range(0..len)).find(|&index| self.contains(index)))
            .flatten()
    }

    /// Those among the neighbours of a configuration.
    pub(super) fn neighbours(&self, index: usize) -> Vec<usize> {
        let mut neighbours = self.points.neighbours(index);
        neighbours.retain(|&index| self.contains(index));
        neighbours
    }
}
