//! From samples to winners and the share matrix: tuned under one condition, served under another.

use std::collections::{BTreeMap, BTreeSet};

use crate::condition::Condition;
use crate::kernel::Configuration;
use crate::results::{Served, ShareResult, Timed};

use super::stats::{Summary, median};

/// Samples of the final rounds in nanoseconds by condition and number of the trial. An empty list says that the
/// trial was tried under that condition and failed.
pub type FinalSamples = BTreeMap<Condition, BTreeMap<u32, Vec<u64>>>;

/// Everything that the final rounds gave for one task.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The samples of all passes: the finals of every condition, then the winners under the other conditions, and, where winners
    /// are confirmed, that in place of what was before.
    pub samples: &'a FinalSamples,
    /// The winner of every condition, by number of the trial: as [`winners`] gives them, or as they were confirmed.
    pub winners: &'a BTreeMap<Condition, u32>,
    /// The configuration of every trial in them.
    pub configurations: &'a BTreeMap<u32, Configuration>,
    /// Number of the default configuration's trial.
    pub default: u32,
    /// The job's conditions, in the order in which results list them.
    pub conditions: &'a [Condition],
    /// The finalists of every condition, by number of the trial.
    pub finalists: &'a BTreeMap<Condition, Vec<u32>>,
}

/// The winner of every condition that has samples: the trial with the least median there, the earlier one
/// where two are equal.
#[must_use]
pub fn winners(samples: &FinalSamples) -> BTreeMap<Condition, u32> {
    samples.iter().filter_map(|(&condition, trials)| Some((condition, fastest(trials)?))).collect()
}

/// What the second pass must measure: for every condition, the trials among the winners and the default that
/// were not tried there yet. Conditions with nothing to measure are left out.
///
/// The second pass may find a faster trial for a condition and so change its winner: measure until the plan is
/// empty.
#[must_use]
pub fn cross_plan(
    winners: &BTreeMap<Condition, u32>,
    default: u32,
    samples: &FinalSamples,
) -> BTreeMap<Condition, Vec<u32>> {
    let wanted: BTreeSet<u32> = winners.values().copied().chain([default]).collect();
    let conditions: BTreeSet<Condition> = winners.keys().chain(samples.keys()).copied().collect();
    conditions
        .into_iter()
        .filter_map(|condition| {
            let tried =
                |trial: &u32| samples.get(&condition).is_some_and(|trials| trials.contains_key(trial));
            let missing: Vec<u32> = wanted.iter().copied().filter(|trial| !tried(trial)).collect();
            (!missing.is_empty()).then_some((condition, missing))
        })
        .collect()
}

/// What was found under one condition, its metrics and footprint left empty. None where no trial has samples.
#[must_use]
pub fn result_under(measured: &Measured, condition: Condition) -> Option<ShareResult> {
    let here = measured.samples.get(&condition)?;
    let timed = |trial: u32| timed(here, measured.configurations, trial);
    let winner = *measured.winners.get(&condition)?;

    let served = measured
        .conditions
        .iter()
        .map(|tuned| Served {
            tuned_at: tuned.share,
            neighbours: tuned.neighbours,
            time_ns: measured.winners.get(tuned).and_then(|trial| median(here.get(trial)?)),
        })
        .collect();

    // The winner may come from the second pass.
    let listed: BTreeSet<u32> =
        measured.finalists.get(&condition).into_iter().flatten().copied().chain([winner]).collect();
    let mut finalists: Vec<Timed> = listed.into_iter().filter_map(timed).collect();
    finalists.sort_by_key(|t| (t.time_ns, t.trial));

    Some(ShareResult {
        share: condition.share,
        best: timed(winner)?,
        baseline: timed(measured.default),
        served,
        finalists,
        metrics: BTreeMap::new(),
        footprint: None,
    })
}

fn fastest(trials: &BTreeMap<u32, Vec<u64>>) -> Option<u32> {
    trials
        .iter()
        .filter_map(|(&trial, samples)| Some((median(samples)?, trial)))
        .min()
        .map(|(_, trial)| trial)
}

fn timed(
    here: &BTreeMap<u32, Vec<u64>>,
    configurations: &BTreeMap<u32, Configuration>,
    trial: u32,
) -> Option<Timed> {
    let summary = Summary::of(here.get(&trial)?)?;
    Some(Timed {
        trial,
        configuration: configurations.get(&trial)?.clone(),
        time_ns: summary.median_ns,
        noise_percent: Some(summary.noise_percent).filter(|noise| noise.is_finite()),
        samples: summary.samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Neighbours;
    use crate::kernel::Value;

    const BESIDE: Condition = Condition { share: 25, neighbours: Neighbours::Compute };

    fn samples(table: &[(u8, &[(u32, u64)])]) -> FinalSamples {
        table.iter().map(|&(share, row)| (Condition::quiet(share), trials(row))).collect()
    }

    fn trials(row: &[(u32, u64)]) -> BTreeMap<u32, Vec<u64>> {
        row.iter().map(|&(t, ns)| (t, vec![ns; 6])).collect()
    }

    fn quiet<T: Clone>(table: &[(u8, T)]) -> BTreeMap<Condition, T> {
        table.iter().map(|(share, value)| (Condition::quiet(*share), value.clone())).collect()
    }

    fn served(tuned_at: u8, time_ns: Option<u64>) -> Served {
        Served { tuned_at, neighbours: Neighbours::Quiet, time_ns }
    }

    fn results_of(samples: &FinalSamples, shares: &[u8]) -> Vec<ShareResult> {
        let configurations = (0..10)
            .map(|t| (t, Configuration(BTreeMap::from([("x".to_owned(), Value::Int(i64::from(t)))]))))
            .collect();
        let finalists = quiet(&[(25, vec![3, 1]), (100, vec![2, 4])]);
        let mut conditions: Vec<Condition> = shares.iter().map(|&share| Condition::quiet(share)).collect();
        conditions.extend(samples.contains_key(&BESIDE).then_some(BESIDE));
        let measured = Measured {
            samples,
            winners: &winners(samples),
            configurations: &configurations,
            default: 0,
            conditions: &conditions,
            finalists: &finalists,
        };
        conditions.iter().filter_map(|&condition| result_under(&measured, condition)).collect()
    }

    #[test]
    fn each_share_has_its_winner_and_the_times_of_the_others_winners() {
        let taken = samples(&[
            (25, &[(0, 900), (1, 400), (3, 500), (2, 520)]),
            (100, &[(0, 300), (2, 100), (4, 120), (1, 150)]),
        ]);
        let results = results_of(&taken, &[100, 25]);
        assert_eq!(results.iter().map(|r| (r.share, r.best.trial)).collect::<Vec<_>>(), [(100, 2), (25, 1)]);
        let at_25 = &results[1];
        assert_eq!(at_25.served, [served(100, Some(520)), served(25, Some(400))]);
        assert!((at_25.speedup().unwrap() - 2.25).abs() < 1e-9);
        assert!((at_25.loss_with_choice_of(100).unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(at_25.finalists.iter().map(|t| t.trial).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(at_25.best.samples, 6);
    }

    #[test]
    fn a_winner_that_failed_elsewhere_has_no_time_there() {
        let mut taken = samples(&[(25, &[(1, 400)]), (100, &[(2, 100), (0, 300)])]);
        taken.get_mut(&Condition::quiet(25)).unwrap().insert(2, Vec::new());
        let results = results_of(&taken, &[25, 100]);
        assert_eq!(results[0].served[1], served(100, None));
        assert_eq!(results[0].baseline, None);
    }

    #[test]
    fn a_share_without_samples_has_no_result() {
        let taken = samples(&[(25, &[(1, 400)])]);
        let results = results_of(&taken, &[25, 100]);
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].served[1], served(100, None));
    }

    #[test]
    fn the_second_pass_measures_what_is_missing_and_not_what_failed() {
        let mut taken = samples(&[(25, &[(1, 400), (0, 900)]), (50, &[(1, 200)]), (100, &[(2, 100)])]);
        taken.get_mut(&Condition::quiet(100)).unwrap().insert(1, Vec::new());
        let plan = cross_plan(&winners(&taken), 0, &taken);
        assert_eq!(plan, quiet(&[(25, vec![2]), (50, vec![0, 2]), (100, vec![0])]));
    }

    #[test]
    fn a_second_pass_that_finds_a_faster_trial_changes_the_winner() {
        let taken = samples(&[(25, &[(1, 400), (2, 380), (0, 900)]), (100, &[(2, 100), (1, 150), (0, 300)])]);
        let results = results_of(&taken, &[25, 100]);
        assert_eq!(results[0].best.trial, 2);
        assert_eq!(results[0].finalists.iter().map(|t| t.trial).collect::<Vec<_>>(), [2, 1]);
        assert!(cross_plan(&winners(&taken), 0, &taken).is_empty());
    }

    #[test]
    fn a_load_beside_a_share_is_a_condition_of_its_own() {
        let mut taken = samples(&[(25, &[(1, 291), (2, 310), (0, 900)])]);
        taken.insert(BESIDE, trials(&[(1, 455), (2, 353)]));
        let winners = winners(&taken);
        assert_eq!((winners[&Condition::quiet(25)], winners[&BESIDE]), (1, 2));
        assert_eq!(cross_plan(&winners, 0, &taken), BTreeMap::from([(BESIDE, vec![0])]));
        let results = results_of(&taken, &[25]);
        let beside = &results[1];
        assert_eq!((beside.share, beside.best.trial, beside.best.time_ns), (25, 2, 353));
        assert!((beside.loss_with_choice_of(25).unwrap() - (455.0 / 353.0 - 1.0)).abs() < 1e-9);
        let losses: Vec<Option<u64>> = results[0].served.iter().map(|served| served.time_ns).collect();
        assert_eq!(losses, [Some(291), Some(310)], "the loaded winner has its quiet time, too");
    }
}
