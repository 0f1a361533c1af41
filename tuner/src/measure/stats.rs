//! What a set of samples tells about its median, without assuming a distribution.

/// Fewest samples whose extremes enclose the median with 95 % confidence: 1 - 2 / 2^6 is 97 %.
const MIN_SAMPLES_FOR_INTERVAL: usize = 6;

/// Up to this many samples the binomial distribution is summed exactly; 2^-n is still a normal number.
const MAX_EXACT_SAMPLES: usize = 1000;

/// What a set of samples tells about its median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median in nanoseconds.
    pub median_ns: u64,
    /// Lower bound of the median's 95 % confidence interval in nanoseconds; the least sample where there
    /// are fewer than 6.
    pub lower_ns: u64,
    /// Half the width of the median's 95 % confidence interval, in percent of the median; infinite below
    /// 6 samples.
    pub noise_percent: f64,
    /// Distance from the 10th to the 90th percentile, in percent of the median.
    pub spread_percent: f64,
    /// Samples that lie far above the rest: above the median by five times the median absolute deviation
    /// (scaled to a standard deviation), and by 1 % at least, as most samples may be equal.
    pub outliers: u32,
    /// Number of samples.
    pub samples: u32,
}

impl Summary {
    /// The summary of samples in nanoseconds, in any order; none where there are no samples.
    #[must_use]
    pub fn of(samples: &[u64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let (&least, middle) = (sorted.first()?, median_of_sorted(&sorted)?);
        let in_percent = |ns: f64| 100.0 * ns / middle.max(1) as f64;

        let interval = median_interval(&sorted);
        let noise_percent =
            interval.map_or(f64::INFINITY, |(lower, upper)| in_percent((upper - lower) as f64 / 2.0));
        let spread = quantile(&sorted, 0.9)?.saturating_sub(quantile(&sorted, 0.1)?);
        let limit = middle as f64 + outlier_distance(&sorted, middle);
        let outliers = sorted.iter().rev().take_while(|&&s| s as f64 > limit).count();

        Some(Self {
            median_ns: middle,
            lower_ns: interval.map_or(least, |(lower, _)| lower),
            noise_percent,
            spread_percent: in_percent(spread as f64),
            outliers: outliers as u32,
            samples: sorted.len() as u32,
        })
    }
}

/// The time that samples took to take, in nanoseconds, where each is the mean of so many launches.
pub(super) fn run_time_ns(samples: &[u64], launches: u32) -> u64 {
    let sum = samples.iter().fold(0u64, |sum, &sample| sum.saturating_add(sample));
    sum.saturating_mul(u64::from(launches.max(1)))
}

/// The median of samples in any order, the mean of the middle two where their number is even; none where
/// there are no samples.
#[must_use]
pub fn median(samples: &[u64]) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[u64]) -> Option<u64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(lower.midpoint(upper))
}

/// The order statistics that enclose the median with 95 % confidence.
fn median_interval(sorted: &[u64]) -> Option<(u64, u64)> {
    let rank = interval_rank(sorted.len())?;
    Some((*sorted.get(rank)?, *sorted.get(sorted.len() - 1 - rank)?))
}

/// The greatest rank `r`, from 0, such that the samples of rank `r` from below and from above enclose the
/// median with 95 % confidence: the number of samples below the median is binomial with p = 1/2, and the
/// interval misses it where that number is `r` or less, or the same at the other end.
fn interval_rank(samples: usize) -> Option<usize> {
    const TAIL: f64 = 0.025;
    if samples < MIN_SAMPLES_FOR_INTERVAL {
        return None;
    }
    if samples > MAX_EXACT_SAMPLES {
        let n = samples as f64;
        return Some(((n - 1.96 * n.sqrt()) / 2.0).floor() as usize - 1);
    }
    let mut probability = 0.5_f64.powi(i32::try_from(samples).ok()?);
    let mut tail = probability;
    let mut rank = 0;
    loop {
        probability *= (samples - rank) as f64 / (rank + 1) as f64;
        tail += probability;
        if tail > TAIL {
            return Some(rank);
        }
        rank += 1;
    }
}

/// The sample nearest to a quantile (0 to 1).
fn quantile(sorted: &[u64], q: f64) -> Option<u64> {
    let rank = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(rank).copied()
}

fn outlier_distance(sorted: &[u64], middle: u64) -> f64 {
    /// Turns a median absolute deviation into the standard deviation of a normal distribution.
    const TO_DEVIATION: f64 = 1.4826;
    let deviations: Vec<u64> = sorted.iter().map(|s| s.abs_diff(middle)).collect();
    let deviation = median(&deviations).unwrap_or(0) as f64;
    (5.0 * TO_DEVIATION * deviation).max(0.01 * middle as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[40, 10, 20, 30]), Some(25));
        assert_eq!(median(&[30, 10, 20]), Some(20));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn noise_is_infinite_below_six_samples() {
        let five = Summary::of(&[100; 5]).unwrap();
        let six = Summary::of(&[100; 6]).unwrap();
        assert!(five.noise_percent.is_infinite());
        assert!(six.noise_percent.abs() < f64::EPSILON);
        assert_eq!(Summary::of(&[90, 100, 110]).unwrap().lower_ns, 90);
    }

    #[test]
    fn interval_ranks_are_those_of_the_tables() {
        // Conover, table of confidence intervals of the median: ranks from 1 there, from 0 here.
        for (samples, rank) in [(6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (15, 3), (20, 5), (30, 9), (50, 17)]
        {
            assert_eq!(interval_rank(samples), Some(rank), "{samples} samples");
        }
        assert_eq!(interval_rank(5), None);
    }

    #[test]
    fn the_normal_approximation_meets_the_exact_ranks() {
        let exact = interval_rank(MAX_EXACT_SAMPLES).unwrap();
        let approximate = interval_rank(MAX_EXACT_SAMPLES + 1).unwrap();
        assert!(exact.abs_diff(approximate) <= 1, "{exact} and {approximate}");
    }

    #[test]
    fn the_interval_covers_a_known_median_as_often_as_it_says() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let covered = (0..2000)
            .filter(|_| {
                let mut samples: Vec<u64> = (0..25).map(|_| rng.random_range(0..=1_000_000)).collect();
                samples.sort_unstable();
                let (lower, upper) = median_interval(&samples).unwrap();
                (lower..=upper).contains(&500_000)
            })
            .count();
        assert!((1880..=1980).contains(&covered), "{covered} of 2000");
    }

    #[test]
    fn noise_is_half_the_interval_in_percent() {
        let samples: Vec<u64> = (95..=105).collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!((summary.median_ns, summary.lower_ns, summary.samples), (100, 96, 11));
        assert!((summary.noise_percent - 4.0).abs() < 1e-9);
        assert!((summary.spread_percent - 8.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_sample_is_an_outlier_and_a_tick_of_the_timer_is_not() {
        let mut samples = vec![1000; 20];
        samples.extend([1001, 1001, 5000]);
        assert_eq!(Summary::of(&samples).unwrap().outliers, 1);
    }

    #[test]
    fn times_of_zero_are_no_division_by_zero() {
        let summary = Summary::of(&[0; 8]).unwrap();
        assert!(summary.noise_percent.abs() < f64::EPSILON && summary.spread_percent.abs() < f64::EPSILON);
    }
}
