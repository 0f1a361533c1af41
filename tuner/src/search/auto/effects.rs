//! What the value of one parameter does to time, as far as the trials so far tell.

use super::Told;

/// Trials that speak for "no effect" before any was made: one lucky trial must not condemn a value.
const PRIOR: f64 = 2.0;
/// Adjacent values tend to behave alike: what is seen at one counts this much at the next.
const SPILL: f64 = 0.5;
/// A failed trial counts as this many times slower than the mean.
const FAILED: f64 = 3.0;

/// The effect of every parameter value on the logarithm of time at one target, others averaged out.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// By parameter and value; positive is slower.
    by_value: Vec<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    weight: f64,
    total: f64,
}

impl Effects {
    /// Learns from all trials, in the order given. Trials that were skipped at this target teach nothing.
    pub(super) fn learn<'a>(told: &(impl Iterator<Item = &'a Told> + Clone), target: usize) -> Self {
        let times = || told.clone().filter_map(|t| t.log_time(target));
        let mean = times().sum::<f64>() / times().count().max(1) as f64;

        let mut sums: Vec<Vec<Sum>> = Vec::new();
        for trial in told.clone() {
            let deviation = match trial.log_time(target) {
                Some(time) => time - mean,
                None if trial.failed() => FAILED.ln(),
                None => continue,
            };
            sums.resize(sums.len().max(trial.point.len()), Vec::new());
            for (values, &value) in sums.iter_mut().zip(&trial.point) {
                let value = usize::from(value);
                values.resize(values.len().max(value + 1), Sum::default());
                if let Some(sum) = values.get_mut(value) {
                    sum.weight += 1.0;
                    sum.total += deviation;
                }
            }
        }
        Self { by_value: sums.iter().map(|values| smooth(values)).collect() }
    }

    /// How much slower, in logarithm of time, a point should be than another, from this alone.
    pub(super) fn difference(&self, to: &[u16], from: &[u16]) -> f64 {
        self.by_value
            .iter()
            .zip(to.iter().zip(from))
            .filter(|(_, (to, from))| to != from)
            .map(|(values, (&to, &from))| at(values, to) - at(values, from))
            .sum()
    }
}

/// Values beyond those that were tried have no known effect.
fn at(values: &[f64], value: u16) -> f64 {
    values.get(usize::from(value)).copied().unwrap_or(0.0)
}

fn smooth(values: &[Sum]) -> Vec<f64> {
    (0..values.len())
        .map(|i| {
            let at = |i: usize| values.get(i).copied().unwrap_or_default();
            let (here, before, after) = (at(i), at(i.wrapping_sub(1)), at(i + 1));
            let total = here.total + SPILL * (before.total + after.total);
            let weight = here.weight + SPILL * (before.weight + after.weight);
            total / (weight + PRIOR)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(point: &[u16], time_ns: Option<u64>) -> Told {
        Told::new(point.to_vec(), &[time_ns])
    }

    #[test]
    fn a_slow_value_has_a_positive_effect_and_a_fast_one_a_negative() {
        let trials: Vec<Told> = (0..20)
            .map(|i: u16| told(&[i % 2, i % 5], Some(if i.is_multiple_of(2) { 1000 } else { 2000 })))
            .collect();
        let effects = Effects::learn(&trials.iter(), 0);
        assert!(effects.difference(&[1, 0], &[0, 0]) > 0.2);
        assert!(effects.difference(&[0, 0], &[1, 0]) < -0.2);
        assert!(effects.difference(&[0, 1], &[0, 3]).abs() < 0.1);
    }

    #[test]
    fn values_that_fail_are_slow() {
        let trials: Vec<Told> =
            (0..20).map(|i: u16| told(&[i % 2], i.is_multiple_of(2).then_some(1000))).collect();
        assert!(Effects::learn(&trials.iter(), 0).difference(&[1], &[0]) > 0.3);
    }

    #[test]
    fn what_was_skipped_at_a_target_teaches_nothing_there() {
        let skipped = |i: u16| Told::new(vec![i % 2], &[Some(900), i.is_multiple_of(2).then_some(1000)]);
        let trials: Vec<Told> = (0..20).map(skipped).collect();
        assert!(Effects::learn(&trials.iter(), 1).difference(&[1], &[0]).abs() < 1e-9);
    }

    #[test]
    fn nothing_told_is_no_effect() {
        let effects = Effects::learn(&[].iter(), 0);
        assert!(effects.difference(&[1, 7], &[0, 3]).abs() < f64::EPSILON);
    }
}
