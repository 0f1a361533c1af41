//! What is known of what was asked, for strategies that follow one cost.

use std::collections::{BTreeMap, HashMap};

use super::Observation;

/// A time that is missing at a share where others have one counts as this many times the best there.
const MISSING: f64 = 4.0;

/// Results in the order of the asks, whatever the order of the tells.
#[derive(Default)]
pub(super) struct Ledger {
    /// Number of each ask.
    numbers: HashMap<usize, usize>,
    /// By number of the ask; those that were told but not asked come first, by index.
    told: BTreeMap<(usize, usize), Vec<Option<u64>>>,
    /// Told since the last look.
    fresh: BTreeMap<(usize, usize), usize>,
    best: Vec<Option<u64>>,
}

impl Ledger {
    pub(super) fn ask(&mut self, index: usize) {
        let number = self.numbers.len() + 1;
        self.numbers.entry(index).or_insert(number);
    }

    pub(super) fn tell(&mut self, index: usize, observation: &Observation) {
        let times = &observation.times_ns;
        self.best.resize(self.best.len().max(times.len()), None);
        for (best, time) in self.best.iter_mut().zip(times) {
            *best = best.iter().chain(time).copied().min();
        }
        let key = (self.numbers.get(&index).copied().unwrap_or(0), index);
        self.fresh.insert(key, index);
        self.told.insert(key, times.clone());
    }

    /// What was told since the last call, with its cost, in the order of the asks.
    pub(super) fn fresh(&mut self) -> Vec<(usize, f64)> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh
            .into_iter()
            .map(|(key, index)| (index, self.told.get(&key).map_or(f64::INFINITY, |times| self.cost(times))))
            .collect()
    }

    /// The configurations of least cost, best first; failed ones never.
    pub(super) fn best(&self, count: usize) -> Vec<(usize, f64)> {
        let mut costs: Vec<(usize, f64)> = self
            .told
            .iter()
            .map(|((_, index), times)| (*index, self.cost(times)))
            .filter(|(_, cost)| cost.is_finite())
            .collect();
        costs.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        costs.truncate(count);
        costs
    }

    /// Mean over the shares of the logarithm of the time over the best there; infinite for a failure.
    fn cost(&self, times: &[Option<u64>]) -> f64 {
        if times.iter().all(Option::is_none) {
            return f64::INFINITY;
        }
        let mut costs = Vec::new();
        for (time, best) in times.iter().zip(&self.best) {
            if let Some(best) = best {
                let ratio = time.map_or(MISSING, |time| time.max(1) as f64 / (*best).max(1) as f64);
                costs.push(ratio.ln());
            }
        }
        costs.iter().sum::<f64>() / costs.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(ledger: &mut Ledger, index: usize, times_ns: &[Option<u64>]) {
        ledger.tell(index, &Observation { times_ns: times_ns.to_vec() });
    }

    #[test]
    fn results_come_in_the_order_of_the_asks() {
        let mut ledger = Ledger::default();
        for index in [7, 3, 5] {
            ledger.ask(index);
        }
        for index in [5, 7, 3] {
            tell(&mut ledger, index, &[Some(index as u64)]);
        }
        assert_eq!(ledger.fresh().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [7, 3, 5]);
        assert!(ledger.fresh().is_empty());
    }

    #[test]
    fn every_share_weighs_alike_and_a_failure_is_never_among_the_best() {
        let mut ledger = Ledger::default();
        tell(&mut ledger, 0, &[Some(100), Some(40)]);
        tell(&mut ledger, 1, &[Some(110), Some(10)]);
        tell(&mut ledger, 2, &[Some(100), None]);
        tell(&mut ledger, 3, &[None, None]);
        assert_eq!(ledger.best(9).iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 0, 2]);
    }
}
