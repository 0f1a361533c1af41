//! Auto: spread out first, then search around the best of every target.
//!
//! A trial is expensive (a compilation and a measurement), a step of this search is not. So each step
//! ranks all untried neighbours of the best few configurations by what the effects of single parameters
//! predict, and takes the most promising, with some luck. The targets take turns, so that a configuration
//! that is good at one share only is found as well; one in seven trials explores at random.

mod effects;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::permutation::Permutation;
use super::{Observation, Points, Search};
use effects::Effects;

/// Space-filling trials at the start, the default counted.
const OPENING: usize = 20;
/// Random points of which the farthest from all others is taken in the opening.
const CANDIDATES: usize = 8;
/// Share of the trials that explore at random.
const EXPLORE: f64 = 0.15;
/// Best configurations of each target whose neighbours are tried.
const ELITES: usize = 5;
/// Scale of the luck in the ranking, in logarithm of time.
const LUCK: f64 = 0.05;
/// Of the points two steps away from one elite, no more than this are ranked.
const SECOND_STEPS: usize = 2000;

pub(super) struct Auto {
    points: Arc<dyn Points + Send + Sync>,
    rng: ChaCha8Rng,
    /// The order of exploration; it also finds what is left at the end.
    order: Permutation,
    cursor: usize,
    first: Option<usize>,
    targets: usize,
    /// The target whose turn it is.
    turn: usize,
    /// Asked or told. Only asked for membership: its order is not that of the elements.
    tried: HashSet<usize>,
    /// Points asked in the opening, to keep away from.
    opening: Vec<Vec<u16>>,
    told: BTreeMap<usize, Told>,
}

/// What is known of a tried configuration.
#[derive(Clone, Debug)]
struct Told {
    point: Vec<u16>,
    /// Logarithm of the time, by target.
    log_times: Vec<Option<f64>>,
}

impl Told {
    fn new(point: Vec<u16>, times_ns: &[Option<u64>]) -> Self {
        let log_times = times_ns.iter().map(|time| time.map(|ns| (ns.max(1) as f64).ln())).collect();
        Self { point, log_times }
    }

    fn log_time(&self, target: usize) -> Option<f64> {
        self.log_times.get(target).copied().flatten()
    }

    fn failed(&self) -> bool {
        self.log_times.iter().all(Option::is_none)
    }
}

impl Auto {
    pub(super) fn new(
        points: Arc<dyn Points + Send + Sync>,
        first: usize,
        targets: usize,
        seed: u64,
    ) -> Self {
        let len = points.len();
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            order: Permutation::new(len, seed.wrapping_add(1)),
            cursor: 0,
            first: (first < len).then_some(first),
            targets: targets.max(1),
            turn: 0,
            tried: HashSet::new(),
            opening: Vec::new(),
            told: BTreeMap::new(),
            points,
        }
    }

    /// A random untried configuration; none when all are tried.
    fn explore(&mut self) -> Option<usize> {
        loop {
            let index = self.order.at(self.cursor)?;
            self.cursor += 1;
            if !self.tried.contains(&index) {
                return Some(index);
            }
        }
    }

    /// The default, then of a few random configurations the one farthest from all that were asked.
    fn open(&mut self) -> Option<usize> {
        let index = match self.first.take().filter(|first| !self.tried.contains(first)) {
            Some(first) => first,
            None => match self.farthest_of_a_few() {
                Some(index) => index,
                None => self.explore()?,
            },
        };
        self.opening.push(self.points.point(index));
        Some(index)
    }

    fn farthest_of_a_few(&mut self) -> Option<usize> {
        let len = self.points.len() as u64;
        if len == 0 {
            return None;
        }
        let mut best: Option<(usize, usize)> = None;
        for _ in 0..CANDIDATES {
            let index = self.rng.random_range(0..len) as usize;
            if self.tried.contains(&index) {
                continue;
            }
            let point = self.points.point(index);
            let distance = self.opening.iter().map(|other| differing(&point, other)).min().unwrap_or(0);
            if best.is_none_or(|(farthest, _)| distance > farthest) {
                best = Some((distance, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// Untried configurations near the best of a target, the most promising last.
    fn promising(&mut self, target: usize, wanted: usize) -> Vec<usize> {
        let elites = self.elites(target);
        let effects = Effects::learn(&self.told.values(), target);
        let mut ranked = BTreeMap::new();
        for &(time, index) in &elites {
            self.rank(&mut ranked, &effects, (time, index), self.points.neighbours(index));
        }
        if ranked.len() < wanted {
            for &(time, index) in &elites {
                let steps = self.points.neighbours(index);
                let second: Vec<usize> =
                    steps.iter().flat_map(|&step| self.points.neighbours(step)).take(SECOND_STEPS).collect();
                self.rank(&mut ranked, &effects, (time, index), second);
                if ranked.len() >= SECOND_STEPS {
                    break;
                }
            }
        }
        let mut ranked: Vec<(f64, usize)> = ranked
            .into_iter()
            .map(|(index, predicted)| (predicted - LUCK * gumbel(&mut self.rng), index))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        ranked.into_iter().map(|(_, index)| index).collect()
    }

    /// Predicts the times of the untried ones among `candidates` from that of a known configuration; where
    /// several predict, the most hopeful counts.
    fn rank(
        &self,
        ranked: &mut BTreeMap<usize, f64>,
        effects: &Effects,
        (time, from): (f64, usize),
        candidates: Vec<usize>,
    ) {
        let Some(from) = self.told.get(&from) else { return };
        for index in candidates.into_iter().filter(|index| !self.tried.contains(index)) {
            let predicted = time + effects.difference(&self.points.point(index), &from.point);
            ranked.entry(index).and_modify(|known| *known = known.min(predicted)).or_insert(predicted);
        }
    }

    /// The best configurations of a target and their times, fastest first.
    fn elites(&self, target: usize) -> Vec<(f64, usize)> {
        let mut timed: Vec<(f64, usize)> =
            self.told.iter().filter_map(|(&index, told)| Some((told.log_time(target)?, index))).collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        timed.truncate(ELITES);
        timed
    }

    /// One configuration near the best of the target whose turn it is.
    fn exploit(&mut self, pools: &mut BTreeMap<usize, Vec<usize>>, wanted: usize) -> Option<usize> {
        let target = self.turn % self.targets;
        self.turn += 1;
        let mut pool = match pools.remove(&target) {
            Some(pool) => pool,
            None => self.promising(target, wanted),
        };
        let mut chosen = None;
        while chosen.is_none() {
            let Some(index) = pool.pop() else { break };
            chosen = (!self.tried.contains(&index)).then_some(index);
        }
        pools.insert(target, pool);
        chosen
    }
}

impl Search for Auto {
    fn ask(&mut self, n: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        let mut pools = BTreeMap::new();
        while asked.len() < n {
            let choice = if self.opening.len() < OPENING || self.told.is_empty() {
                self.open()
            } else if self.rng.random_bool(EXPLORE) {
                self.explore()
            } else {
                self.exploit(&mut pools, n).or_else(|| self.explore())
            };
            let Some(index) = choice else { break };
            self.tried.insert(index);
            asked.push(index);
        }
        asked
    }

    fn tell(&mut self, index: usize, observation: &Observation) {
        if index >= self.points.len() {
            return;
        }
        self.tried.insert(index);
        self.told.insert(index, Told::new(self.points.point(index), &observation.times_ns));
    }
}

/// Parameters in which two points differ.
fn differing(a: &[u16], b: &[u16]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// A sample of the Gumbel distribution: added to scores, it makes the best of them a draw in proportion to
/// the scores' exponentials.
fn gumbel(rng: &mut ChaCha8Rng) -> f64 {
    let uniform: f64 = rng.random_range(f64::EPSILON..1.0);
    -(-uniform.ln()).ln()
}
