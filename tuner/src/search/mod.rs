//! Which configurations to try next: ask and tell, in batches.
//!
//! A trial is told with one time per share of the job, so a strategy pursues several targets at once. All
//! strategies are deterministic: the same seed and the same tells give the same asks, and it does not
//! matter in which order the results of a batch are told.

mod annealing;
mod auto;
mod genetic;
mod ledger;
mod local;
mod permutation;
mod plain;
mod stale;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
mod untried;

use std::sync::Arc;

use rand::{Rng, RngExt};

use crate::kernel::Value;
use crate::settings::{Strategy, StrategyOptions};

pub use stale::Stale;

/// A strategy at work on one space.
pub trait Search: Send {
    /// Up to `n` configurations, by index into the space, that were neither asked nor told before. Fewer
    /// when the space has no more, or, where it is not listed, none are found. Results of earlier batches may still be unknown.
    fn ask(&mut self, n: usize) -> Vec<usize>;

    /// What became of one configuration. One that was not asked counts as tried, so a log can be replayed.
    fn tell(&mut self, index: usize, observation: &Observation);
}

/// What a trial gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// One time per share in nanoseconds, in the job's order; none where it was skipped or failed. Without
    /// any time the trial failed.
    pub times_ns: Vec<Option<u64>>,
}

/// A space as the strategies see it: points in a grid of parameter values, of which only the valid ones
/// have an index.
pub trait Points {
    /// Number of valid configurations.
    fn len(&self) -> usize;

    /// Whether no configuration is valid.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether indices count the valid configurations from 0. They do not where there are too many to list: then
    /// [`Points::len`] is less than there are, and an index any number that [`Points::contains`] knows.
    fn is_listed(&self) -> bool {
        true
    }

    /// Whether there is a valid configuration of this index.
    fn contains(&self, index: usize) -> bool {
        index < self.len()
    }

    /// A random valid configuration; none where none is found.
    fn sample(&self, rng: &mut dyn Rng) -> Option<usize> {
        (!self.is_empty()).then(|| rng.random_range(0..self.len()))
    }

    /// The position of each parameter's value in its list of values.
    fn point(&self, index: usize) -> Vec<u16>;

    /// The values of each parameter, whether they occur in a valid configuration or not.
    fn values(&self) -> Vec<Vec<Value>>;

    /// The index of the configuration at a point, if it is valid.
    fn index_of(&self, point: &[u16]) -> Option<usize>;

    /// Valid configurations that differ in one parameter.
    fn neighbours(&self, index: usize) -> Vec<usize> {
        let mut point = self.point(index);
        let mut found = Vec::new();
        for (parameter, values) in self.values().iter().enumerate() {
            let own = point[parameter];
            for digit in (0..values.len() as u16).filter(|&digit| digit != own) {
                point[parameter] = digit;
                found.extend(self.index_of(&point));
            }
            point[parameter] = own;
        }
        found
    }
}

/// What a search begins with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// How configurations are chosen.
    pub strategy: Strategy,
    /// The strategy's options.
    pub options: &'a StrategyOptions,
    /// Configurations that are asked first, by index into the space: the default, then known-good ones.
    pub first: &'a [usize],
    /// The number of times that each observation has.
    pub shares: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

/// Starts a strategy on a space.
#[must_use]
pub fn start(points: Arc<dyn Points + Send + Sync>, start: &Start) -> Box<dyn Search> {
    let Start { strategy, options, first, shares, seed } = *start;
    match strategy {
        // Nobody sees all of what cannot even be listed.
        Strategy::Exhaustive | Strategy::Random if !points.is_listed() => {
            Box::new(plain::Drawn::new(points, first, seed))
        }
        Strategy::Exhaustive => Box::new(plain::Plain::in_order(points.len(), first)),
        Strategy::Random => Box::new(plain::Plain::random(points.len(), first, seed)),
        Strategy::Auto => Box::new(auto::Auto::new(points, first, shares, seed)),
        Strategy::SimulatedAnnealing => Box::new(annealing::Annealing::new(points, first, seed, options)),
        Strategy::Genetic => Box::new(genetic::Genetic::new(points, first, seed, options)),
        Strategy::LocalSearch => Box::new(local::LocalSearch::new(points, first, seed, options)),
    }
}
