//! What many runs say together.

use crate::space::RecordedSpace;

/// A mean and the half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half of the interval's width.
    pub half: f64,
}

/// The mean over spaces of the mean over seeds. The interval says how much other seeds would differ, not
/// how much other spaces would.
#[must_use]
pub fn over_spaces(by_space: &[Vec<f64>]) -> Interval {
    let spaces = by_space.len().max(1) as f64;
    let mut sum = 0.0;
    let mut variance = 0.0;
    for values in by_space {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        sum += mean;
        if values.len() > 1 {
            let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            variance += squares / (count - 1.0) / count;
        }
    }
    Interval { mean: sum / spaces, half: 1.96 * variance.sqrt() / spaces }
}

/// How well a search does beside random search, over the budgets that matter: 0 is expected random search,
/// 1 has the optimum at once (Willemsen et al., A methodology for comparing optimization algorithms for
/// auto-tuning, 2024; here over trials, not over time).
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Trials at which the curves are compared.
    pub points: Vec<usize>,
    /// What random search is expected to have at each, in nanoseconds.
    pub expected: Vec<f64>,
    slowest: f64,
    optimum: f64,
}

/// Places at which curves are compared.
const POINTS: usize = 50;
/// The comparison ends where random search has come this far from the median to the optimum.
const CUTOFF: f64 = 0.95;

impl Baseline {
    /// The curve of expected random search on a space, without repetition. A configuration that failed
    /// counts as the slowest.
    #[must_use]
    pub fn of(space: &RecordedSpace) -> Self {
        let slowest = space.times.iter().flatten().max().copied().unwrap_or_default() as f64;
        let mut times: Vec<f64> =
            space.times.iter().map(|time| time.map_or(slowest, |time| time as f64)).collect();
        times.sort_by(f64::total_cmp);
        let optimum = space.optimum as f64;
        let median = times.get(times.len() / 2).copied().unwrap_or(slowest);
        let enough = median - CUTOFF * (median - optimum);
        let (mut low, mut high) = (1, times.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if expected_best(&times, middle) <= enough { high = middle } else { low = middle + 1 }
        }
        let points: Vec<usize> = (1..=POINTS).map(|i| (low * i).div_ceil(POINTS).max(1)).collect();
        let expected = points.iter().map(|&trials| expected_best(&times, trials)).collect();
        Self { points, expected, slowest, optimum }
    }

    /// Trials that the comparison goes to.
    #[must_use]
    pub fn cutoff(&self) -> usize {
        self.points.last().copied().unwrap_or(1)
    }

    /// The score of one run, from the configurations in the order in which they were asked.
    #[must_use]
    pub fn score(&self, space: &RecordedSpace, asked: &[usize]) -> f64 {
        let mut sum = 0.0;
        for (&point, &expected) in self.points.iter().zip(&self.expected) {
            let best = asked.iter().take(point).filter_map(|&index| space.times[index]).min();
            let best = best.map_or(self.slowest, |best| best as f64);
            let room = expected - self.optimum;
            sum += if room > 0.0 { (expected - best) / room } else { 0.0 };
        }
        sum / self.points.len().max(1) as f64
    }
}

/// Expected least of so many draws without repetition from ascending times.
fn expected_best(times: &[f64], draws: usize) -> f64 {
    let count = times.len() as f64;
    // Chance that none of the faster ones was drawn.
    let mut none_before = 1.0;
    let mut sum = 0.0;
    for (i, time) in times.iter().enumerate() {
        let left = count - i as f64;
        let hit = (draws as f64 / left).min(1.0);
        sum += none_before * hit * time;
        none_before *= 1.0 - hit;
        if none_before < 1e-12 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_best_is_that_of_every_subset() {
        let times = [1.0, 2.0, 4.0, 8.0];
        assert!((expected_best(&times, 1) - 3.75).abs() < 1e-12);
        // The pairs' least: 1 1 1 2 2 4.
        assert!((expected_best(&times, 2) - 11.0 / 6.0).abs() < 1e-12);
        assert!((expected_best(&times, 4) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn intervals_narrow_with_more_seeds() {
        let few = over_spaces(&[vec![0.8, 1.0], vec![0.5, 0.7]]);
        let many = over_spaces(&[[0.8, 1.0].repeat(8), [0.5, 0.7].repeat(8)]);
        assert!((few.mean - 0.75).abs() < 1e-12 && (many.mean - 0.75).abs() < 1e-12);
        assert!(many.half < few.half / 2.0);
        assert_eq!(over_spaces(&[vec![0.5]]), Interval { mean: 0.5, half: 0.0 });
    }
}
