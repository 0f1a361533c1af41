//! A genetic algorithm: the best so far have children.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::Ledger;
use super::untried::Untried;
use super::{Observation, Points, Search};
use crate::settings::StrategyOptions;

/// Children that are made before one that is valid and new is given up.
const TRIES: usize = 30;
/// Of so many at random, the better becomes a parent.
const TOURNAMENT: usize = 2;

pub(super) struct Genetic {
    untried: Untried,
    ledger: Ledger,
    rng: ChaCha8Rng,
    population: usize,
    mutation: f64,
    /// Number of values of each parameter.
    sizes: Vec<u16>,
    asked: usize,
}

impl Genetic {
    pub(super) fn new(
        points: Arc<dyn Points + Send + Sync>,
        first: &[usize],
        seed: u64,
        options: &StrategyOptions,
    ) -> Self {
        Self {
            sizes: points.values().iter().map(|values| values.len() as u16).collect(),
            untried: Untried::new(points, first, seed),
            ledger: Ledger::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            population: options.population() as usize,
            mutation: f64::from(options.mutation_percent()) / 100.0,
            asked: 0,
        }
    }

    fn parent(&mut self, population: &[(usize, f64)]) -> Option<Vec<u16>> {
        let place = (0..TOURNAMENT).map(|_| self.rng.random_range(0..population.len())).min()?;
        population.get(place).map(|(index, _)| self.untried.points().point(*index))
    }

    /// Each parameter from one of two parents, sometimes changed at random.
    fn child(&mut self, population: &[(usize, f64)]) -> Option<usize> {
        if population.is_empty() {
            return None;
        }
        for _ in 0..TRIES {
            let mut child = self.parent(population)?;
            let other = self.parent(population)?;
            for ((own, theirs), &size) in child.iter_mut().zip(other).zip(&self.sizes) {
                if self.rng.random_bool(0.5) {
                    *own = theirs;
                }
                if self.rng.random_bool(self.mutation) {
                    *own = self.rng.random_range(0..size);
                }
            }
            let index = self.untried.points().index_of(&child);
            if let Some(index) = index.filter(|&index| self.untried.contains(index)) {
                return Some(index);
            }
        }
        None
    }
}

impl Search for Genetic {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        let population = self.ledger.best(self.population);
        let mut asked = Vec::new();
        while asked.len() < n {
            let choice = self.untried.take_first().or_else(|| {
                let founding = self.asked < self.population;
                let child = if founding { None } else { self.child(&population) }?;
                self.untried.take(child).then_some(child)
            });
            let Some(index) = choice.or_else(|| self.untried.take_any()) else { break };
            self.asked += 1;
            self.ledger.ask(index);
            asked.push(index);
        }
        asked
    }

    fn tell(&mut self, index: usize, observation: &Observation) {
        self.untried.take(index);
        self.ledger.tell(index, observation);
    }
}
