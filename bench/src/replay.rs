//! Runs of a strategy on recorded spaces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fractune_tuner::search::{self, Observation, Start};
use fractune_tuner::settings::{Strategy, StrategyOptions};

use crate::space::RecordedSpace;

/// How a strategy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Configurations asked at once, but for the first, which is alone.
    pub batch: usize,
    /// Batches asked but not told: 1 waits for the results, 2 is how the engine overlaps.
    pub under_way: usize,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The configurations in the order in which they were asked.
    pub asked: Vec<usize>,
    /// Time spent asking.
    pub thinking: Duration,
}

/// Runs a strategy for so many trials. Several spaces, which list the same configurations in the same order, stand in for the
/// shares of one job.
#[must_use]
pub fn replay(
    spaces: &[Arc<RecordedSpace>],
    strategy: Strategy,
    pace: Pace,
    seed: u64,
    trials: usize,
) -> Run {
    let mut run = Run { asked: Vec::new(), thinking: Duration::ZERO };
    let Some(space) = spaces.first() else { return run };
    // Any configuration may be the default: a fixed one would favour or hurt one space.
    let default = (seed as usize).wrapping_mul(0x9e37_79b9_7f4a_7c15) % space.times.len();
    let options = StrategyOptions::default();
    let start = Start { strategy, options: &options, first: &[default], shares: spaces.len(), seed };
    let mut search = search::start(space.clone(), &start);
    // Where the batches end that were asked and not told.
    let mut under_way: VecDeque<usize> = VecDeque::new();
    let mut told = 0;
    loop {
        while under_way.len() < pace.under_way && run.asked.len() < trials {
            let size = if run.asked.is_empty() { 1 } else { pace.batch };
            let began = Instant::now();
            let batch = search.ask(size.min(trials - run.asked.len()));
            run.thinking += began.elapsed();
            if batch.is_empty() {
                break;
            }
            run.asked.extend(batch);
            under_way.push_back(run.asked.len());
        }
        let Some(end) = under_way.pop_front() else { return run };
        for &index in &run.asked[told..end] {
            let times_ns = spaces.iter().map(|other| other.times[index]).collect();
            search.tell(index, &Observation { times_ns });
        }
        told = end;
    }
}

/// The fraction of the optimum that the best of the first so many has, by count; 0 before any has a time.
#[must_use]
pub fn fractions(space: &RecordedSpace, asked: &[usize], counts: &[usize]) -> Vec<f64> {
    counts
        .iter()
        .map(|&count| {
            let best = asked.iter().take(count).filter_map(|&index| space.times[index]).min();
            best.map_or(0.0, |best| space.optimum as f64 / best as f64)
        })
        .collect()
}
