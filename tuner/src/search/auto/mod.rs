//! Auto: learn what makes a configuration fast, and ask where most may be gained.
//!
//! A trial costs a compilation and device time, a thought here costs milliseconds. So each batch is chosen
//! by models of every target (share) over a pool of untried configurations: neighbours of the best, and
//! random ones. While trials are few, the model is a Gaussian process, which makes most of little; later it
//! is a forest of extremely randomised trees, which stays cheap and takes landscapes as they are. A pool
//! member is worth the sum over the targets of what it may improve there, so that one trial serves them all.
//!
//! What is learnt is not time but speed, as a fraction of the best speed seen at that target: a failure is
//! simply speed 0, and how slow a slow configuration is does not matter. `docs/search.md` has the
//! measurements behind every constant here.

mod acquisition;
mod features;
mod gaussian;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::untried::Untried;
use super::{Observation, Points, Search};
use acquisition::{Candidates, by_forests, by_processes};
use features::Features;
use gaussian::{Kernel, Process};
use trees::{Forest, Growth, Table};

/// Random configurations of which the one farthest from all others is taken while nothing is known.
const OPENING_CANDIDATES: usize = 16;
/// Trials up to which the Gaussian process chooses alone, and up to which it chooses one half.
const PROCESS: (usize, usize) = (50, 100);
/// The same for several targets, which share the trials.
const PROCESS_OF_SEVERAL: (usize, usize) = (100, 150);
/// Random configurations in the pool.
const POOL: usize = 2000;
/// Best configurations of each target whose neighbours are in the pool.
const ELITES: usize = 8;
/// Speed that is assumed where a configuration was too slow at one target to be measured at another.
const SKIPPED: f64 = 0.2;
/// Steps of the kernel's fit, from where the last fit ended.
const FIT_STEPS: i32 = 15;
const TREES: usize = 64;
/// A node of a tree with fewer trials is not cut.
const LEAST_CUT: usize = 3;

pub(super) struct Auto {
    features: Features,
    rng: ChaCha8Rng,
    untried: Untried,
    targets: usize,
    /// Points asked, to keep away from while nothing is known.
    asked: Vec<Vec<u16>>,
    /// Asked, and not told yet.
    pending: BTreeSet<usize>,
    told: BTreeMap<usize, Told>,
    kernels: Vec<Kernel>,
}

/// What is known of a tried configuration.
#[derive(Clone, Debug)]
struct Told {
    point: Vec<u16>,
    /// Time in nanoseconds, by target.
    times: Vec<Option<u64>>,
}

impl Told {
    fn time(&self, target: usize) -> Option<u64> {
        self.times.get(target).copied().flatten()
    }
}

impl Auto {
    pub(super) fn new(
        points: Arc<dyn Points + Send + Sync>,
        first: &[usize],
        targets: usize,
        seed: u64,
    ) -> Self {
        let features = Features::of(&*points);
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            untried: Untried::new(points, first, seed),
            targets: targets.max(1),
            asked: Vec::new(),
            pending: BTreeSet::new(),
            told: BTreeMap::new(),
            kernels: vec![Kernel::new(features.width()); targets.max(1)],
            features,
        }
    }

    /// Of a few random configurations the one farthest from all that were asked.
    fn open(&mut self) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for _ in 0..OPENING_CANDIDATES {
            let Some(index) = self.untried.draw(&mut self.rng) else { break };
            let point = self.untried.points().point(index);
            let distances = self.asked.iter().map(|other| self.features.distance(&point, other));
            let distance = distances.fold(f64::INFINITY, f64::min);
            if best.is_none_or(|(farthest, _)| distance > farthest) {
                best = Some((distance, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The fastest configurations at a target, fastest first.
    fn elites(&self, target: usize, count: usize) -> Vec<(u64, usize)> {
        let timed = self.told.iter().filter_map(|(&index, told)| Some((told.time(target)?, index)));
        let mut timed: Vec<(u64, usize)> = timed.collect();
        timed.sort_unstable();
        timed.truncate(count);
        timed
    }

    /// What may be asked: everything where that is little, else a choice.
    fn pool(&mut self) -> Vec<usize> {
        let len = self.untried.points().len();
        if len <= POOL {
            return (0..len).filter(|&index| self.untried.contains(index)).collect();
        }
        let mut pool = BTreeSet::new();
        for target in 0..self.targets {
            for (_, index) in self.elites(target, ELITES) {
                pool.extend(self.untried.neighbours(index));
            }
        }
        // Drawing from what is not listed takes its time.
        let draws = if self.untried.points().is_listed() { POOL } else { POOL / 4 };
        for _ in 0..draws {
            // Where one is hard to find, so are the others.
            let Some(index) = self.untried.draw(&mut self.rng) else { break };
            pool.insert(index);
        }
        pool.into_iter().collect()
    }

    /// Speed of each trial at a target, negative, so that less is better.
    fn slowness(&self, target: usize) -> Vec<f64> {
        let best = self.elites(target, 1).first().map_or(1, |&(time, _)| time.max(1)) as f64;
        let slowness = |told: &Told| match told.time(target) {
            Some(time) => -best / time.max(1) as f64,
            None if told.times.iter().any(Option::is_some) => -SKIPPED,
            None => 0.0,
        };
        self.told.values().map(slowness).collect()
    }

    fn known(&self) -> Table {
        let mut table = Table::new(self.features.width());
        for told in self.told.values() {
            self.features.push_row(&told.point, &mut table.cells);
        }
        table
    }

    /// The configurations that promise most, by what is known.
    fn promising(&mut self, n: usize) -> Vec<usize> {
        let known = self.known();
        let mut indices: Vec<usize> = self.pending.iter().copied().collect();
        indices.extend(self.pool());
        let mut rows = Table::new(self.features.width());
        for &index in &indices {
            self.features.push_row(&self.untried.points().point(index), &mut rows.cells);
        }
        let mut pool = Candidates::new(indices, self.pending.len(), rows);
        let slowness: Vec<Vec<f64>> = (0..self.targets).map(|target| self.slowness(target)).collect();
        let (alone, until) = if self.targets > 1 { PROCESS_OF_SEVERAL } else { PROCESS };
        let by_process = match self.told.len() {
            known if known < alone => n,
            known if known < until => n.div_ceil(2),
            _ => 0,
        };
        let mut chosen = Vec::new();
        if by_process > 0 {
            let fit = |(slowness, kernel): (&Vec<f64>, &mut Kernel)| {
                Process::fit(&known, slowness, kernel, FIT_STEPS)
            };
            let processes: Vec<Process> = slowness.iter().zip(&mut self.kernels).map(fit).collect();
            chosen.extend(by_processes(&processes, &mut pool, by_process));
        }
        if chosen.len() < n {
            let features = self.features.width().div_ceil(3).max(1);
            let growth = Growth { trees: TREES, features, least_cut: LEAST_CUT };
            let grow = |slowness: &Vec<f64>| Forest::grow(&known, slowness, growth, &mut self.rng);
            let forests: Vec<Forest> = slowness.iter().map(grow).collect();
            chosen.extend(by_forests(&forests, &mut pool, n - by_process, &mut self.rng));
        }
        chosen
    }

    fn choose(&mut self, n: usize) -> Vec<usize> {
        if let Some(first) = self.untried.take_first() {
            return vec![first];
        }
        let model = !self.told.is_empty() && self.features.width() > 0;
        let mut chosen = if model { self.promising(n) } else { self.open().into_iter().collect() };
        chosen.retain(|&index| self.untried.take(index));
        if chosen.is_empty() {
            chosen.extend(self.untried.take_any());
        }
        chosen
    }
}

impl Search for Auto {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        while asked.len() < n {
            let chosen = self.choose(n - asked.len());
            if chosen.is_empty() {
                break;
            }
            self.pending.extend(&chosen);
            self.asked.extend(chosen.iter().map(|&index| self.untried.points().point(index)));
            asked.extend(chosen);
        }
        asked
    }

    fn tell(&mut self, index: usize, observation: &Observation) {
        if !self.untried.points().contains(index) {
            return;
        }
        self.untried.take(index);
        self.pending.remove(&index);
        let point = self.untried.points().point(index);
        self.told.insert(index, Told { point, times: observation.times_ns.clone() });
    }
}
