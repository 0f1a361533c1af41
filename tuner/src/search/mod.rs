//! Which configurations to try next: ask and tell, in batches.
//!
//! A trial is told with one time per share of the job, so a strategy pursues several targets at once. All
//! strategies are deterministic: the same seed and the same tells give the same asks, and it does not
//! matter in which order the results of a batch are told.

mod auto;
mod permutation;
mod plain;
mod stale;
#[cfg(test)]
mod toy;

use std::sync::Arc;

use crate::settings::Strategy;

pub use stale::Stale;

/// A strategy at work on one space.
pub trait Search: Send {
    /// Up to `n` configurations, by index into the space, that were neither asked nor told before. Fewer
    /// when the space has no more. Results of earlier batches may still be unknown.
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

    /// The position of each parameter's value in its list of values.
    fn point(&self, index: usize) -> Vec<u16>;

    /// Valid configurations that differ in one parameter.
    fn neighbours(&self, index: usize) -> Vec<usize>;
}

impl Points for crate::space::Space {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn point(&self, index: usize) -> Vec<u16> {
        Self::point(self, index)
    }

    fn neighbours(&self, index: usize) -> Vec<usize> {
        Self::neighbours(self, index)
    }
}

/// Starts a strategy.
///
/// `first` is the default configuration's index, which is asked first; `shares` is the number of times
/// that each observation has.
#[must_use]
pub fn start(
    strategy: Strategy,
    points: Arc<dyn Points + Send + Sync>,
    first: usize,
    shares: usize,
    seed: u64,
) -> Box<dyn Search> {
    match strategy {
        Strategy::Exhaustive => Box::new(plain::Plain::in_order(points.len(), first)),
        Strategy::Random => Box::new(plain::Plain::random(points.len(), first, seed)),
        Strategy::Auto => Box::new(auto::Auto::new(points, first, shares, seed)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::toy::Grid;
    use super::*;

    const STRATEGIES: [Strategy; 3] = [Strategy::Auto, Strategy::Exhaustive, Strategy::Random];

    /// Runs a strategy two batches ahead, as the engine does; the asked indices in order.
    fn run(grid: &Grid, strategy: Strategy, seed: u64, batch: usize, trials: usize) -> Vec<usize> {
        let first = grid.len() / 2;
        let mut search = start(strategy, Arc::new(grid.clone()), first, grid.shares(), seed);
        let mut asked: Vec<usize> = Vec::new();
        let mut untold: Vec<usize> = search.ask(batch);
        loop {
            let ahead = search.ask(batch);
            asked.extend(&untold);
            for &index in untold.iter().rev() {
                search.tell(index, &grid.observe(index));
            }
            if ahead.is_empty() || asked.len() >= trials {
                asked.extend(&ahead);
                asked.truncate(trials);
                return asked;
            }
            untold = ahead;
        }
    }

    fn best_of(grid: &Grid, asked: &[usize], share: usize) -> f64 {
        asked.iter().filter_map(|&i| grid.time(i, share)).min().map_or(f64::INFINITY, |t| t as f64)
    }

    /// Mean over 20 seeds of the best time after so many trials, over the optimum.
    fn mean_best<const N: usize>(
        grid: &Grid,
        strategy: Strategy,
        share: usize,
        trials: [usize; N],
    ) -> [f64; N] {
        let mut sums = [0.0; N];
        for seed in 0..20 {
            let asked = run(grid, strategy, seed, 8, trials[N - 1]);
            for (sum, &trials) in sums.iter_mut().zip(&trials) {
                *sum += best_of(grid, &asked[..trials], share);
            }
        }
        sums.map(|sum| sum / 20.0 / grid.optimum(share))
    }

    #[test]
    fn every_strategy_asks_each_configuration_once_and_the_default_first() {
        let grid = Grid::one_target();
        for strategy in STRATEGIES {
            let asked = run(&grid, strategy, 3, 7, usize::MAX);
            assert_eq!(asked[0], grid.len() / 2, "{strategy:?}");
            assert_eq!(asked.len(), grid.len(), "{strategy:?}");
            assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), grid.len(), "{strategy:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trials_and_another_seed_others() {
        let grid = Grid::two_targets();
        for strategy in [Strategy::Auto, Strategy::Random] {
            assert_eq!(run(&grid, strategy, 5, 8, 200), run(&grid, strategy, 5, 8, 200), "{strategy:?}");
            assert_ne!(run(&grid, strategy, 5, 8, 200), run(&grid, strategy, 6, 8, 200), "{strategy:?}");
        }
    }

    #[test]
    fn the_order_of_tells_does_not_matter() {
        let grid = Grid::two_targets();
        let asks = |reversed: bool| {
            let mut search = start(Strategy::Auto, Arc::new(grid.clone()), 0, 2, 9);
            let mut all: Vec<usize> = Vec::new();
            for _ in 0..12 {
                let mut batch = search.ask(10);
                all.extend(&batch);
                if reversed {
                    batch.reverse();
                }
                for index in batch {
                    search.tell(index, &grid.observe(index));
                }
            }
            all
        };
        assert_eq!(asks(false), asks(true));
    }

    #[test]
    fn auto_finds_better_ones_than_random_at_the_same_budget() {
        let grid = Grid::one_target();
        assert!(grid.len() > 2500 && grid.len() < 3500, "{}", grid.len());
        let auto = mean_best(&grid, Strategy::Auto, 0, [60, 120]);
        let random = mean_best(&grid, Strategy::Random, 0, [60, 120]);
        println!("after 60 and 120 trials, over the optimum: Auto {auto:.3?}, Random {random:.3?}");
        for (auto, random) in auto.into_iter().zip(random) {
            assert!(auto - 1.0 < 0.6 * (random - 1.0), "{auto} against {random}");
        }
    }

    #[test]
    fn auto_pursues_every_target() {
        let grid = Grid::two_targets();
        assert_ne!(grid.argmin(0), grid.argmin(1));
        for share in 0..2 {
            let [auto] = mean_best(&grid, Strategy::Auto, share, [120]);
            let [random] = mean_best(&grid, Strategy::Random, share, [120]);
            println!("target {share}: Auto {auto:.3}, Random {random:.3} of the optimum");
            assert!(auto - 1.0 < 0.6 * (random - 1.0), "target {share}: {auto} against {random}");
        }
    }

    #[test]
    fn a_space_of_failures_is_searched_to_its_end() {
        let grid = Grid::all_fail();
        for strategy in STRATEGIES {
            assert_eq!(run(&grid, strategy, 1, 16, usize::MAX).len(), grid.len(), "{strategy:?}");
        }
    }

    #[test]
    fn tiny_spaces_end() {
        for strategy in STRATEGIES {
            let mut search = start(strategy, Arc::new(Grid::of(&[1])), 0, 1, 1);
            assert_eq!(search.ask(4), [0]);
            assert!(search.ask(4).is_empty());
            let mut search = start(strategy, Arc::new(Grid::of(&[0])), 0, 1, 1);
            assert!(search.ask(4).is_empty());
        }
    }

    #[test]
    fn what_was_told_without_being_asked_is_not_asked() {
        let grid = Grid::one_target();
        for strategy in STRATEGIES {
            let mut search = start(strategy, Arc::new(grid.clone()), 0, 1, 1);
            for index in 0..100 {
                search.tell(index, &grid.observe(index));
            }
            let asked = search.ask(200);
            assert_eq!(asked.len(), 200);
            assert!(asked.iter().all(|&i| i >= 100), "{strategy:?}");
        }
    }
}
