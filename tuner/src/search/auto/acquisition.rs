//! Which of a pool of candidates to ask, by what the models say of them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::gaussian::{Posterior, Process};
use super::trees::{Forest, Prediction, Table};

/// Mean of the exponentially distributed boldness with which forests are believed.
const BOLDNESS: f64 = 3.0;
/// Hopes below this fraction of the best speed count little.
const HOPE: f64 = 0.9;
/// How little.
const DIM: f64 = 0.05;

/// Untried configurations, their rows of features, and which of them are chosen: at first those whose
/// results are awaited.
pub(super) struct Candidates {
    indices: Vec<usize>,
    awaited: usize,
    rows: Table,
    taken: Vec<bool>,
}

impl Candidates {
    /// The results of the first so many are awaited.
    pub(super) fn new(indices: Vec<usize>, awaited: usize, rows: Table) -> Self {
        let taken = (0..indices.len()).map(|place| place < awaited).collect();
        Self { indices, awaited, rows, taken }
    }

    /// Takes the first of the places that are worth most.
    fn take(&mut self, worth: impl Fn(usize) -> f64) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for place in (0..self.indices.len()).filter(|&place| !self.taken[place]) {
            let worth = worth(place);
            if best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, place));
            }
        }
        let (_, place) = best?;
        self.taken[place] = true;
        Some(place)
    }
}

/// The greatest expected improvement, summed over the targets. After each choice, and for all that is
/// awaited, the spreads are what they will be once the result is known, so that nothing is asked twice.
pub(super) fn by_processes(processes: &[Process], pool: &mut Candidates, n: usize) -> Vec<usize> {
    let mut posteriors: Vec<Posterior> =
        processes.iter().map(|process| Posterior::new(process, &pool.rows)).collect();
    for posterior in &mut posteriors {
        (0..pool.awaited).for_each(|place| posterior.expect(place));
    }
    let mut chosen = Vec::new();
    while chosen.len() < n {
        let improvement = |place| posteriors.iter().map(|p| p.expected_improvement(place)).sum();
        let Some(best) = pool.take(improvement) else { break };
        chosen.push(pool.indices[best]);
        if chosen.len() < n {
            for posterior in &mut posteriors {
                posterior.expect(best);
            }
        }
    }
    chosen
}

/// For each choice another boldness is drawn, and what is best when every spread works out that well is
/// taken: cautious and daring choices in one batch.
pub(super) fn by_forests(
    forests: &[Forest],
    pool: &mut Candidates,
    n: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    let predictions: Vec<Vec<Prediction>> = forests
        .iter()
        .map(|forest| (0..pool.indices.len()).map(|place| forest.predict(pool.rows.row(place))).collect())
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < n {
        let boldness = -BOLDNESS * rng.random_range(f64::EPSILON..1.0).ln();
        let hope = |prediction: &Prediction| {
            let speed = boldness * prediction.spread - prediction.mean;
            if speed > HOPE { speed - HOPE + DIM * HOPE } else { DIM * speed }
        };
        let worth = |place: usize| predictions.iter().map(|target| hope(&target[place])).sum();
        let Some(best) = pool.take(worth) else { break };
        chosen.push(pool.indices[best]);
    }
    chosen
}
