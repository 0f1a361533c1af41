//! Simulated annealing: a walk that takes worse steps less and less often.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::Ledger;
use super::untried::Untried;
use super::{Observation, Points, Search};
use crate::settings::StrategyOptions;

/// Steps that are tried before the walk gives up on the place where it is.
const PATIENCE: usize = 60;

pub(super) struct Annealing {
    untried: Untried,
    ledger: Ledger,
    rng: ChaCha8Rng,
    start: f64,
    end: f64,
    cooling: f64,
    /// Trials whose results the walk has seen.
    seen: usize,
    since_step: usize,
    current: Option<(usize, f64)>,
}

impl Annealing {
    pub(super) fn new(
        points: Arc<dyn Points + Send + Sync>,
        first: &[usize],
        seed: u64,
        options: &StrategyOptions,
    ) -> Self {
        let ratio = |percent: u32| (1.0 + f64::from(percent) / 100.0).ln();
        Self {
            untried: Untried::new(points, first, seed),
            ledger: Ledger::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            start: ratio(options.start_percent()),
            end: ratio(options.end_percent()),
            cooling: f64::from(options.cooling_trials()),
            seen: 0,
            since_step: 0,
            current: None,
        }
    }

    fn temperature(&self) -> f64 {
        let part = (self.seen as f64 / self.cooling).min(1.0);
        self.start.powf(1.0 - part) * self.end.powf(part)
    }

    fn walk(&mut self) {
        for (index, cost) in self.ledger.fresh() {
            let worse = self.current.map_or(f64::NEG_INFINITY, |(_, current)| cost - current);
            let luck: f64 = self.rng.random();
            let taken = worse <= 0.0 || luck < (-worse / self.temperature()).exp();
            self.seen += 1;
            self.since_step += 1;
            if taken && cost.is_finite() {
                self.current = Some((index, cost));
                self.since_step = 0;
            }
        }
        if self.since_step > PATIENCE {
            self.current = self.ledger.best(1).first().copied();
            self.since_step = 0;
        }
    }

    /// An untried neighbour, or one of a neighbour's.
    fn step(&mut self) -> Option<usize> {
        let (mut place, _) = self.current?;
        for _ in 0..3 {
            let near = self.untried.neighbours(place);
            if !near.is_empty() {
                return near.get(self.rng.random_range(0..near.len())).copied();
            }
            let all = self.untried.points().neighbours(place);
            if all.is_empty() {
                return None;
            }
            place = *all.get(self.rng.random_range(0..all.len()))?;
        }
        None
    }
}

impl Search for Annealing {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        self.walk();
        let mut asked = Vec::new();
        while asked.len() < n {
            let step = self.untried.take_first().or_else(|| {
                let step = self.step()?;
                self.untried.take(step).then_some(step)
            });
            let Some(index) = step.or_else(|| self.untried.take_any()) else { break };
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
