//! What the share matrix says across shares: how much of a device is enough, and which one configuration serves all.

use super::{ShareResult, TaskResult};
use crate::kernel::Configuration;

/// The smallest share that is nearly as good as the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The share in percent.
    pub share: u8,
    /// How much longer it takes there than at the largest share, as a ratio minus one.
    pub loss: f64,
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

impl TaskResult {
    /// The smallest share from which all more of the device, up to the largest share measured, buys less than `percent`.
    /// None where only one share has a winner.
    #[must_use]
    pub fn knee(&self, percent: f64) -> Option<Knee> {
        let mut times: Vec<(u8, u64)> = self.shares.iter().map(|s| (s.share, s.best.time_ns)).collect();
        times.sort_unstable();
        let (_, most) = *times.last().filter(|_| times.len() > 1)?;
        let loss = |time: u64| time as f64 / most as f64 - 1.0;
        times
            .iter()
            .map(|&(share, time)| Knee { share, loss: loss(time) })
            .find(|knee| knee.loss * 100.0 < percent)
    }

    /// Of the configurations that were timed at every share, the one whose greatest loss against the share's own winner
    /// is least. None where only one share has a winner, no configuration has a time at each, or the times of other shares' winners were
    /// not kept, as a cluster's status keeps few of them.
    #[must_use]
    pub fn one_for_all(&self) -> Option<OneForAll> {
        let keeps = |kept: &ShareResult, of: &ShareResult| kept.served.iter().any(|s| s.tuned_at == of.share);
        if !self.shares.iter().all(|kept| self.shares.iter().all(|of| keeps(kept, of))) {
            return None;
        }
        let winners = self.shares.iter().map(|share| &share.best);
        let default = self.shares.iter().filter_map(|share| share.baseline.as_ref()).take(1);
        let candidates = winners.chain(default);
        let judged = candidates.filter_map(|timed| {
            let (worst_at, worst_loss) = self.worst(timed.trial)?;
            Some(OneForAll {
                trial: timed.trial,
                configuration: timed.configuration.clone(),
                worst_loss,
                worst_at,
            })
        });
        let best = judged.min_by(|a, b| a.worst_loss.total_cmp(&b.worst_loss));
        best.filter(|_| self.shares.len() > 1)
    }

    /// The share where a trial loses most, and how much; none where it has no time at some share.
    fn worst(&self, trial: u32) -> Option<(u8, f64)> {
        let losses: Option<Vec<(u8, f64)>> =
            self.shares.iter().map(|share| Some((share.share, self.loss(trial, share.share)?))).collect();
        losses?.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// How much longer a trial takes at a share than that share's winner, as a ratio minus one.
    fn loss(&self, trial: u32, served_at: u8) -> Option<f64> {
        let share = self.shares.iter().find(|share| share.share == served_at)?;
        let tuned_at = self.shares.iter().find(|share| share.best.trial == trial).map(|share| share.share);
        let as_winner = tuned_at
            .and_then(|tuned_at| share.served.iter().find(|served| served.tuned_at == tuned_at)?.time_ns);
        let as_finalist = share.finalists.iter().chain(&share.baseline).find(|timed| timed.trial == trial);
        let time = as_winner.or_else(|| as_finalist.map(|timed| timed.time_ns))?;
        Some(time as f64 / share.best.time_ns as f64 - 1.0)
    }
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
}
