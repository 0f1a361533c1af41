//! When a search has stopped getting better.

use super::Observation;

/// Counts the trials since any share's best improved, for `stopAfterStale`.
#[derive(Clone, Debug, Default)]
pub struct Stale {
    best_ns: Vec<Option<u64>>,
    trials: u32,
}

impl Stale {
    /// A count that begins at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a trial, in the order of the trials. One that is the first with a time at some share, or
    /// faster there than all before, sets the count to 0; a failed one adds to it.
    pub fn record(&mut self, observation: &Observation) {
        let shares = self.best_ns.len().max(observation.times_ns.len());
        self.best_ns.resize(shares, None);
        let mut better = false;
        for (best, time) in self.best_ns.iter_mut().zip(&observation.times_ns) {
            if let Some(time) = *time
                && best.is_none_or(|best| time < best)
            {
                *best = Some(time);
                better = true;
            }
        }
        self.trials = if better { 0 } else { self.trials.saturating_add(1) };
    }

    /// Trials since any share's best improved.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.trials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_improvement_at_any_share_starts_the_count_again() {
        let mut stale = Stale::new();
        let mut after = |times: [Option<u64>; 2]| {
            stale.record(&Observation { times_ns: times.to_vec() });
            stale.trials()
        };
        assert_eq!(after([None, None]), 1);
        assert_eq!(after([Some(50), Some(90)]), 0);
        assert_eq!(after([Some(50), Some(95)]), 1);
        assert_eq!(after([None, None]), 2);
        assert_eq!(after([Some(60), Some(89)]), 0);
        assert_eq!(after([None, Some(89)]), 1);
    }
}
