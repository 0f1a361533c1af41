//! The strategies that learn nothing: in order, and at random.

use std::collections::{HashSet, VecDeque};

use std::sync::Arc;

use super::permutation::Permutation;
use super::untried::Untried;
use super::{Observation, Points, Search};

/// Every configuration, in an order that is fixed from the start but for the default, which is first.
pub(super) struct Plain {
    order: Order,
    len: usize,
    /// Position of the next configuration in the order.
    cursor: usize,
    first: VecDeque<usize>,
    /// Only asked for membership: its order is not that of the elements.
    tried: HashSet<usize>,
}

enum Order {
    Ascending,
    Random(Permutation),
}

impl Plain {
    pub(super) fn in_order(len: usize, first: &[usize]) -> Self {
        Self::new(Order::Ascending, len, first)
    }

    pub(super) fn random(len: usize, first: &[usize], seed: u64) -> Self {
        Self::new(Order::Random(Permutation::new(len, seed)), len, first)
    }

    fn new(order: Order, len: usize, first: &[usize]) -> Self {
        let first = first.iter().copied().filter(|&index| index < len).collect();
        Self { order, len, cursor: 0, first, tried: HashSet::new() }
    }

    fn next(&mut self) -> Option<usize> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        let position = self.cursor;
        self.cursor += 1;
        match &self.order {
            Order::Ascending => (position < self.len).then_some(position),
            Order::Random(permutation) => permutation.at(position),
        }
    }
}

impl Search for Plain {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        while asked.len() < n {
            let Some(index) = self.next() else { break };
            if self.tried.insert(index) {
                asked.push(index);
            }
        }
        asked
    }

    fn tell(&mut self, index: usize, _: &Observation) {
        self.tried.insert(index);
    }
}

/// Configurations at random, without repetition, of a space that is not listed.
pub(super) struct Drawn {
    untried: Untried,
}

impl Drawn {
    pub(super) fn new(points: Arc<dyn Points + Send + Sync>, first: &[usize], seed: u64) -> Self {
        Self { untried: Untried::new(points, first, seed) }
    }
}

impl Search for Drawn {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        let next = || self.untried.take_first().or_else(|| self.untried.take_any());
        std::iter::from_fn(next).take(n).collect()
    }

    fn tell(&mut self, index: usize, _: &Observation) {
        self.untried.take(index);
    }
}
