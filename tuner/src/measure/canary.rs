//! Known kernels timed again and again: when they are slower than before, so is everything, and not by our doing.

use std::collections::BTreeMap;

use super::stats::Summary;
use crate::condition::Neighbours;

/// A canary that is slower by less than this ratio is well: reported times are meant to be true to 2 %, and a kernel's own
/// time wanders by a percent with the card's temperature.
const WELL: f64 = 1.03;

/// What the canary said: readings of a computing and a streaming kernel, each taken while nothing of ours ran.
#[derive(Clone, Debug, Default)]
pub struct Canary {
    readings: Vec<BTreeMap<Neighbours, Summary>>,
}

impl Canary {
    /// Adds a reading: samples in nanoseconds of each kernel. Returns its number, from 0.
    pub fn read(&mut self, samples: &BTreeMap<Neighbours, Vec<u64>>) -> usize {
        let reading = samples.iter().filter_map(|(&kind, samples)| Some((kind, Summary::of(samples)?)));
        self.readings.push(reading.collect());
        self.readings.len() - 1
    }

    /// How many readings there are.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.readings.len()
    }

    /// How much slower, as a ratio minus one, a kernel was in a reading than in the fastest of all; 0 where that is
    /// within the noise.
    #[must_use]
    pub fn drift(&self, reading: usize, kind: Neighbours) -> f64 {
        let of = |reading: &BTreeMap<Neighbours, Summary>| reading.get(&kind).copied();
        let best = self.readings.iter().filter_map(of).map(|summary| summary.median_ns).min();
        let here = self.readings.get(reading).and_then(of);
        match (here, best) {
            (Some(here), Some(best)) if here.lower_ns as f64 > best as f64 * WELL => {
                here.median_ns as f64 / best as f64 - 1.0
            }
            _ => 0.0,
        }
    }

    /// The greatest drift of any kernel in the readings from one number to another, both included.
    #[must_use]
    pub fn worst_between(&self, first: usize, last: usize) -> f64 {
        (first..=last).flat_map(|at| KINDS.map(|kind| self.drift(at, kind))).fold(0.0, f64::max)
    }

    /// The greatest drift of a kernel in all readings.
    #[must_use]
    pub fn worst(&self, kind: Neighbours) -> f64 {
        (0..self.readings.len()).map(|at| self.drift(at, kind)).fold(0.0, f64::max)
    }
}

/// What the canary's kernels are bound by.
pub const KINDS: [Neighbours; 2] = [Neighbours::Compute, Neighbours::Memory];

/// Trials whose times are worth taking again: those measured while the canary was slow that may be among the `count`
/// fastest of their share once that is taken off. `times` are a share's, by number of the trial, `disturbed` the drift,
/// as a ratio minus one, of the trials that were disturbed. As many as `count` at most, the most promising first.
#[must_use]
pub fn suspects(times: &[(u32, u64)], disturbed: &BTreeMap<u32, f64>, count: usize) -> Vec<u32> {
    let mut fastest: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    fastest.sort_unstable();
    let Some(&last) = fastest.get(..count.min(fastest.len())).and_then(<[u64]>::last) else {
        return Vec::new();
    };
    let mut found: Vec<(f64, u32)> = times
        .iter()
        .filter(|(_, time)| *time > last)
        .filter_map(|(trial, time)| Some((*time as f64 / (1.0 + disturbed.get(trial)?), *trial)))
        .filter(|(time, _)| *time <= last as f64)
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    found.into_iter().take(count).map(|(_, trial)| trial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(compute: u64, memory: u64) -> BTreeMap<Neighbours, Vec<u64>> {
        BTreeMap::from([(Neighbours::Compute, vec![compute; 8]), (Neighbours::Memory, vec![memory; 8])])
    }

    #[test]
    fn a_neighbour_is_seen_wherever_it_came_and_also_if_it_was_there_first() {
        let mut canary = Canary::default();
        for (compute, memory) in [(100, 150), (100, 100), (102, 100), (130, 100)] {
            canary.read(&reading(compute, memory));
        }
        assert!((canary.drift(0, Neighbours::Memory) - 0.5).abs() < 1e-9, "there from the start");
        assert!(canary.drift(2, Neighbours::Compute) < 1e-9, "2 % is no neighbour");
        assert!((canary.worst_between(2, 3) - 0.3).abs() < 1e-9);
        assert!(canary.worst_between(1, 2) < 1e-9);
        assert!((canary.worst(Neighbours::Memory) - 0.5).abs() < 1e-9);
        assert_eq!((canary.readings(), Canary::default().readings()), (4, 0));
    }

    #[test]
    fn noise_is_no_drift() {
        let mut canary = Canary::default();
        canary.read(&reading(100, 100));
        let noisy = BTreeMap::from([(Neighbours::Compute, vec![90, 95, 100, 110, 112, 115, 120, 125])]);
        canary.read(&noisy);
        assert!(canary.worst_between(0, 1) < 1e-9, "its lower bound is below");
        assert!(canary.drift(9, Neighbours::Compute) < 1e-9, "no such reading");
    }

    #[test]
    fn only_what_may_yet_be_among_the_fastest_is_measured_again() {
        let times = [(1, 100), (2, 110), (3, 120), (4, 130), (5, 200)];
        let disturbed = BTreeMap::from([(3, 0.2), (4, 0.1), (5, 1.0), (1, 0.5)]);
        // The two fastest are finalists anyway; 3 may be 100, 4 may be 118 and 5 may be 100.
        assert_eq!(suspects(&times, &disturbed, 2), [3, 5]);
        assert_eq!(suspects(&times, &disturbed, 1), [3, 5][..1]);
        assert!(suspects(&times, &BTreeMap::new(), 2).is_empty());
        assert!(suspects(&[], &disturbed, 2).is_empty());
    }
}
