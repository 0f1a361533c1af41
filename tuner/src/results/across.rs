//! What the share matrix says across shares and conditions: how much of a device is enough, and which one configuration serves all.

use std::fmt;

use super::{ShareResult, TaskResult, Timed};
use crate::condition::Condition;
use crate::kernel::Configuration;

/// The smallest share that is nearly as good as the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The share in percent.
    pub share: u8,
    /// How much longer it takes there than at the largest share, as a ratio minus one.
    pub loss: f64,
}

/// A quiet time that is known no better than this, in percent, was not taken on a quiet device.
pub const DISTURBED_PERCENT: f64 = 5.0;

/// The quiet time of a share's winner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeAt {
    /// The share in percent.
    pub share: u8,
    /// Median in nanoseconds.
    pub time_ns: u64,
    /// As in [`Timed::noise_percent`].
    pub noise_percent: Option<f64>,
}

/// Why times at several shares do not say how much of the device is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disturbance {
    /// A time is not known well.
    Noise {
        /// The share in percent.
        share: u8,
        /// The noise of its time in percent.
        percent: f64,
    },
    /// More of the device was slower.
    Order {
        /// The share that was faster, in percent.
        faster: u8,
        /// The larger one that was slower, in percent.
        slower: u8,
    },
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noise { share, percent } => {
                write!(
                    f,
                    "how much is enough cannot be told: the time at {share} % has a noise of {percent:.1} %"
                )
            }
            Self::Order { faster, slower } => {
                write!(f, "{faster} % was faster than {slower} %: the times were disturbed")
            }
        }
    }
}

/// What keeps times at several shares from saying how much is enough, where less than `percent` counts as nothing: a
/// larger share that is slower than a smaller one, beyond the noise of both and beyond `percent`, or a time with a noise
/// over [`DISTURBED_PERCENT`].
#[must_use]
pub fn disturbance(times: &[TimeAt], percent: f64) -> Option<Disturbance> {
    let mut times = times.to_vec();
    times.sort_unstable_by_key(|at| at.share);
    let slower = |small: &TimeAt, large: &TimeAt| {
        let (small_noise, large_noise) = (small.noise_percent?, large.noise_percent?);
        let at_least = large.time_ns as f64 * (1.0 - large_noise / 100.0);
        let at_most = small.time_ns as f64 * (1.0 + small_noise / 100.0);
        let counts = large.time_ns as f64 >= small.time_ns as f64 * (1.0 + percent / 100.0);
        (at_least > at_most && counts)
            .then_some(Disturbance::Order { faster: small.share, slower: large.share })
    };
    let order = times.iter().enumerate().find_map(|(at, small)| {
        // The largest one says most.
        times.iter().skip(at + 1).rev().find_map(|large| slower(small, large))
    });
    let noise = || {
        times.iter().find_map(|at| {
            let percent = at.noise_percent.filter(|noise| *noise > DISTURBED_PERCENT)?;
            Some(Disturbance::Noise { share: at.share, percent })
        })
    };
    (times.len() > 1).then(|| order.or_else(noise)).flatten()
}

/// The configuration that is least bad where it is worst.
#[derive(Clone, Debug, PartialEq)]
pub struct OneForAll {
    /// Number of its trial.
    pub trial: u32,
    /// Its parameter values.
    pub configuration: Configuration,
    /// How much longer it takes than the winner of the share where it is worst, as a ratio minus one.
    pub worst_loss: f64,
    /// That share in percent.
    pub worst_at: u8,
}

/// The configuration that is least bad under the condition where it is worst.
#[derive(Clone, Debug, PartialEq)]
pub struct OneForConditions {
    /// Number of its trial.
    pub trial: u32,
    /// Its parameter values.
    pub configuration: Configuration,
    /// How much longer it takes than the winner of the condition where it is worst, as a ratio minus one.
    pub worst_loss: f64,
    /// That condition.
    pub worst_at: Condition,
    /// How much longer it takes than each condition's own winner: the geometric mean over all, as a ratio minus one.
    pub mean_loss: f64,
}

impl TaskResult {
    /// The smallest share from which all more of the device, up to the largest share measured, buys less than `percent`.
    /// None where only one share has a winner, and where a [`TaskResult::disturbance`] leaves it open.
    #[must_use]
    pub fn knee(&self, percent: f64) -> Option<Knee> {
        if self.disturbance(percent).is_some() {
            return None;
        }
        let mut times: Vec<(u8, u64)> = self.shares.iter().map(|s| (s.share, s.best.time_ns)).collect();
        times.sort_unstable();
        let (_, most) = *times.last().filter(|_| times.len() > 1)?;
        let loss = |time: u64| time as f64 / most as f64 - 1.0;
        times
            .iter()
            .map(|&(share, time)| Knee { share, loss: loss(time) })
            .find(|knee| knee.loss * 100.0 < percent)
    }

    /// As [`disturbance`], of the winners' times.
    #[must_use]
    pub fn disturbance(&self, percent: f64) -> Option<Disturbance> {
        let time = |result: &ShareResult| {
            let Timed { time_ns, noise_percent, .. } = result.best;
            TimeAt { share: result.share, time_ns, noise_percent }
        };
        disturbance(&self.shares.iter().map(time).collect::<Vec<_>>(), percent)
    }

    /// Of the configurations that were timed at every share, the one whose greatest loss against the share's own winner
    /// is least. None where only one share has a winner, no configuration has a time at each, or the times of other shares' winners were
    /// not kept, as a cluster's status keeps few of them.
    #[must_use]
    pub fn one_for_all(&self) -> Option<OneForAll> {
        let rows = self.quiet_rows();
        let choice = least_bad(&rows)?;
        Some(OneForAll {
            trial: choice.timed.trial,
            configuration: choice.timed.configuration.clone(),
            worst_loss: choice.worst_loss,
            worst_at: choice.worst_at.share,
        })
    }

    /// The same over every condition, those with a load beside included. None as for [`TaskResult::one_for_all`], and
    /// where nothing was measured beside loads.
    #[must_use]
    pub fn one_for_conditions(&self) -> Option<OneForConditions> {
        if self.loaded.is_empty() {
            return None;
        }
        let mut rows = self.quiet_rows();
        rows.extend(self.loaded.iter().map(|loaded| (loaded.condition(), &loaded.result)));
        let choice = least_bad(&rows)?;
        let slowdowns = choice.losses.iter().map(|loss| (1.0 + loss).ln());
        Some(OneForConditions {
            trial: choice.timed.trial,
            configuration: choice.timed.configuration.clone(),
            worst_loss: choice.worst_loss,
            worst_at: choice.worst_at,
            mean_loss: (slowdowns.sum::<f64>() / rows.len() as f64).exp_m1(),
        })
    }

    fn quiet_rows(&self) -> Vec<Row<'_>> {
        self.shares.iter().map(|result| (Condition::quiet(result.share), result)).collect()
    }
}

/// What was found under a condition.
type Row<'a> = (Condition, &'a ShareResult);

/// A configuration for all rows.
struct Choice<'a> {
    timed: &'a Timed,
    /// In the order of the rows.
    losses: Vec<f64>,
    worst_loss: f64,
    worst_at: Condition,
}

/// The winner or default whose greatest loss is least.
fn least_bad<'a>(rows: &[Row<'a>]) -> Option<Choice<'a>> {
    let keeps = |kept: &ShareResult, of: Condition| kept.served_choice(of).is_some();
    if rows.len() < 2 || !rows.iter().all(|(_, kept)| rows.iter().all(|(of, _)| keeps(kept, *of))) {
        return None;
    }
    let winners = rows.iter().map(|(_, result)| &result.best);
    let default = rows.iter().filter_map(|(_, result)| result.baseline.as_ref()).take(1);
    let judged = winners.chain(default).filter_map(|timed| {
        let losses: Vec<f64> =
            rows.iter().map(|(_, result)| loss(rows, timed.trial, result)).collect::<Option<_>>()?;
        let conditions = rows.iter().map(|(condition, _)| *condition);
        let (worst_at, &worst_loss) = conditions.zip(&losses).max_by(|a, b| a.1.total_cmp(b.1))?;
        Some(Choice { timed, losses, worst_loss, worst_at })
    });
    judged.min_by(|a, b| a.worst_loss.total_cmp(&b.worst_loss))
}

/// How much longer a trial takes than the winner `here`, as a ratio minus one; none where it has no time here.
fn loss(rows: &[Row<'_>], trial: u32, here: &ShareResult) -> Option<f64> {
    let tuned = rows.iter().find(|(_, result)| result.best.trial == trial).map(|(condition, _)| *condition);
    let as_winner = tuned.and_then(|tuned| here.served_choice(tuned)?.time_ns);
    let as_finalist = here.finalists.iter().chain(&here.baseline).find(|timed| timed.trial == trial);
    let time = as_winner.or_else(|| as_finalist.map(|timed| timed.time_ns))?;
    Some(time as f64 / here.best.time_ns as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A task of which each share has a winner; `times[share][k]` is that of the k-th winner.
    fn with_winners(shares: &[u8], times: &[&[u64]], default: &[u64]) -> TaskResult {
        let entry = |trial: usize, time: u64| {
            json!({
                "trial": trial, "configuration": {"x": trial}, "timeNs": time, "noisePercent": 0.1, "samples": 9
            })
        };
        let results: Vec<Value> = shares
            .iter()
            .enumerate()
            .map(|(at, share)| {
                let served: Vec<Value> = shares
                    .iter()
                    .zip(times[at])
                    .map(|(tuned_at, time)| json!({"tunedAt": tuned_at, "timeNs": time}))
                    .collect();
                json!({
                    "share": share, "best": entry(at + 1, times[at][at]), "baseline": entry(0, default[at]),
                    "served": served, "finalists": [entry(at + 1, times[at][at])]
                })
            })
            .collect();
        serde_json::from_value(json!({
            "kernel": "k", "problem": "p", "weight": 1, "folder": "f", "raw": 9, "valid": 9, "trials": 4,
            "outcomes": {}, "verified": true, "ended": "MaxTrials", "searchMs": 1, "finalsMs": 1,
            "default": {"x": 0}, "shares": results
        }))
        .unwrap()
    }

    #[test]
    fn the_knee_is_the_smallest_share_that_loses_less_than_the_bound() {
        // In any order of the shares.
        let task = with_winners(&[100, 25, 50], &[&[100, 0, 0], &[0, 220, 0], &[0, 0, 104]], &[300; 3]);
        let knee = task.knee(5.0).unwrap();
        assert_eq!(knee.share, 50);
        assert!((knee.loss - 0.04).abs() < 1e-9);
        assert_eq!(task.knee(1.0).unwrap().share, 100, "the largest share loses nothing");
        assert_eq!(task.knee(130.0).unwrap().share, 25);
    }

    #[test]
    fn times_that_were_disturbed_have_no_knee_and_say_why() {
        let of = |noise: [f64; 2], times: [u64; 2]| {
            let mut task = with_winners(&[50, 100], &[&[times[0], 0], &[0, times[1]]], &[9000; 2]);
            for (share, noise) in task.shares.iter_mut().zip(noise) {
                share.best.noise_percent = Some(noise);
            }
            let why = task.disturbance(5.0);
            assert_eq!(task.knee(5.0).is_none(), why.is_some());
            why.map(|why| why.to_string())
        };
        let order = "50 % was faster than 100 %: the times were disturbed";
        assert_eq!(of([11.3, 0.1], [1060, 3970]).as_deref(), Some(order));
        assert_eq!(of([0.1, 0.1], [1000, 1040]), None, "less than the bound counts as nothing");
        assert_eq!(of([4.0, 4.0], [1000, 1070]), None, "within the noise");
        assert_eq!(of([0.1, 0.1], [1000, 1070]).as_deref(), Some(order));
        let noise = "how much is enough cannot be told: the time at 100 % has a noise of 5.1 %";
        assert_eq!(of([0.1, 5.1], [1040, 1000]).as_deref(), Some(noise));
        let mut one = with_winners(&[50], &[&[100]], &[300]);
        one.shares[0].best.noise_percent = Some(50.0);
        assert_eq!(one.disturbance(5.0), None, "one share says nothing across shares");
    }

    #[test]
    fn one_share_has_no_knee_and_needs_no_choice() {
        let task = with_winners(&[50], &[&[100]], &[300]);
        assert_eq!((task.knee(5.0), task.one_for_all()), (None, None));
    }

    #[test]
    fn the_choice_for_all_is_the_one_whose_worst_loss_is_least() {
        // The winner of 25 % loses 10 % at 100 %; that of 100 % loses 50 % at 25 %.
        let task = with_winners(&[25, 100], &[&[200, 300], &[110, 100]], &[500, 500]);
        let choice = task.one_for_all().unwrap();
        assert_eq!((choice.trial, choice.worst_at), (1, 100));
        assert!((choice.worst_loss - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_default_that_is_nowhere_the_best_may_be_the_choice_for_all() {
        let task = with_winners(&[25, 100], &[&[200, 300], &[150, 100]], &[210, 105]);
        let choice = task.one_for_all().unwrap();
        assert_eq!(choice.trial, 0);
        assert!((choice.worst_loss - 0.05).abs() < 1e-9);
    }

    #[test]
    fn where_times_of_other_winners_were_not_kept_nothing_is_chosen() {
        let mut task = with_winners(&[25, 100], &[&[200, 300], &[110, 100]], &[500, 500]);
        task.shares[1].served.remove(0);
        assert_eq!(task.one_for_all(), None, "the kept one might not be the best");
        assert!(task.knee(5.0).is_some());
    }

    #[test]
    fn a_winner_that_failed_elsewhere_is_no_choice_for_all() {
        let mut task = with_winners(&[25, 100], &[&[200, 300], &[110, 100]], &[500, 500]);
        task.shares[1].served[0].time_ns = None;
        assert_eq!(task.one_for_all().unwrap().trial, 2);
    }

    #[test]
    fn over_all_conditions_the_loaded_ones_count_as_much() {
        // One share; its winner (1) loses 29 % beside a load, whose winner (2) loses 7 % without.
        let mut task = with_winners(&[25], &[&[291]], &[900]);
        assert_eq!(task.one_for_conditions(), None);
        let served = |quiet: u64, loaded: u64| json!([{"tunedAt": 25, "timeNs": quiet}, {"tunedAt": 25, "neighbours": "Compute", "timeNs": loaded}]);
        task.shares[0].served = serde_json::from_value(served(291, 312)).unwrap();
        task.loaded = serde_json::from_value(json!([{
            "neighbours": "Compute", "share": 25, "finalists": [], "served": served(455, 353),
            "best": {"trial": 2, "configuration": {"x": 2}, "timeNs": 353, "samples": 9},
            "load": {"share": 75, "units": 99, "alonePerSecond": 4e13, "besidePerSecond": 3e13}
        }]))
        .unwrap();
        let choice = task.one_for_conditions().unwrap();
        assert_eq!((choice.trial, choice.worst_at), (2, Condition::quiet(25)));
        assert!((choice.worst_loss - (312.0 / 291.0 - 1.0)).abs() < 1e-9);
        assert!((choice.mean_loss - ((312.0_f64 / 291.0).sqrt() - 1.0)).abs() < 1e-9);
        assert_eq!(task.one_for_all(), None, "one quiet share needs no choice");
        task.shares[0].served.pop();
        assert_eq!(task.one_for_conditions(), None, "what was not kept might be better");
    }
}
