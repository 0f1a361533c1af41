//! Local search: to the best neighbour until there is none, then a kick.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::Ledger;
use super::untried::Untried;
use super::{Observation, Points, Search};
use crate::settings::StrategyOptions;

/// Kicks that are tried before one that is valid and new is given up.
const TRIES: usize = 50;

pub(super) struct LocalSearch {
    untried: Untried,
    ledger: Ledger,
    rng: ChaCha8Rng,
    /// Random configurations before the search begins at the best of them.
    samples: usize,
    /// Parameters that a kick changes.
    kick: usize,
    sizes: Vec<u16>,
    asked: usize,
    centre: Option<(usize, f64)>,
    /// Kicked there: the search moves there as soon as it has a time, better or not.
    kicked: Option<usize>,
}

impl LocalSearch {
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
            samples: options.samples() as usize,
            kick: options.kick() as usize,
            asked: 0,
            centre: None,
            kicked: None,
        }
    }

    fn follow(&mut self) {
        for (index, cost) in self.ledger.fresh() {
            let arrived = self.kicked == Some(index);
            if arrived {
                self.kicked = None;
            }
            let better = self.centre.is_none_or(|(_, centre)| cost < centre);
            if cost.is_finite() && (arrived || better) {
                self.centre = Some((index, cost));
            }
        }
    }

    /// The best so far with a few parameters at random.
    fn kick(&mut self) -> Option<usize> {
        let (best, _) = *self.ledger.best(1).first()?;
        let from = self.untried.points().point(best);
        let mut parameters: Vec<usize> = (0..from.len()).filter(|&p| self.sizes[p] > 1).collect();
        for _ in 0..TRIES {
            let mut point = from.clone();
            parameters.shuffle(&mut self.rng);
            for &parameter in parameters.iter().take(self.kick) {
                point[parameter] = self.rng.random_range(0..self.sizes[parameter]);
            }
            let index = self.untried.points().index_of(&point);
            if let Some(index) = index.filter(|&index| self.untried.contains(index)) {
                self.kicked = Some(index);
                return Some(index);
            }
        }
        None
    }
}

impl Search for LocalSearch {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        self.follow();
        let mut near = Vec::new();
        if let Some((centre, _)) = self.centre.filter(|_| self.asked >= self.samples) {
            near = self.untried.neighbours(centre);
            near.shuffle(&mut self.rng);
        }
        let mut asked = Vec::new();
        while asked.len() < n {
            let sampling = self.asked < self.samples;
            let choice = self.untried.take_first().or_else(|| {
                if sampling {
                    return None;
                }
                let next = near.pop().or_else(|| self.kick())?;
                self.untried.take(next).then_some(next)
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
