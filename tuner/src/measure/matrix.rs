//! From quiet samples to winners and the share matrix: tuned at one share, served at another.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::Configuration;
use crate::results::{Served, ShareResult, Timed};

use super::stats::{Summary, median};

/// Quiet samples in nanoseconds by share (percent) and number of the trial. An empty list says that the
/// trial was tried at that share and failed.
pub type QuietSamples = BTreeMap<u8, BTreeMap<u32, Vec<u64>>>;

/// Everything that quiet rounds gave for one task.
#[derive(Clone, Copy, Debug)]
pub struct Quiet<'a> {
    /// The samples of both passes: the finals of every share, then the winners at the other shares.
    pub samples: &'a QuietSamples,
    /// The winner of every share, by number of the trial, as [`winners`] gives them.
    pub winners: &'a BTreeMap<u8, u32>,
    /// The configuration of every trial in them.
    pub configurations: &'a BTreeMap<u32, Configuration>,
    /// Number of the default configuration's trial.
    pub default: u32,
    /// The job's shares in percent, in the job's order.
    pub shares: &'a [u8],
    /// The finalists of every share, by number of the trial.
    pub finalists: &'a BTreeMap<u8, Vec<u32>>,
}

/// The winner of every share that has samples: the trial with the least median there, the earlier one
/// where two are equal.
#[must_use]
pub fn winners(samples: &QuietSamples) -> BTreeMap<u8, u32> {
    samples.iter().filter_map(|(&share, trials)| Some((share, fastest(trials)?))).collect()
}

/// What the second pass must measure: for every share, the trials among the winners and the default that
/// were not tried there yet. Shares with nothing to measure are left out.
///
/// The second pass may find a faster trial for a share and so change its winner: measure until the plan is
/// empty.
#[must_use]
pub fn cross_plan(
    winners: &BTreeMap<u8, u32>,
    default: u32,
    samples: &QuietSamples,
) -> BTreeMap<u8, Vec<u32>> {
    let wanted: BTreeSet<u32> = winners.values().copied().chain([default]).collect();
    let shares: BTreeSet<u8> = winners.keys().chain(samples.keys()).copied().collect();
    shares
        .into_iter()
        .filter_map(|share| {
            let tried = |trial: &u32| samples.get(&share).is_some_and(|trials| trials.contains_key(trial));
            let missing: Vec<u32> = wanted.iter().copied().filter(|trial| !tried(trial)).collect();
            (!missing.is_empty()).then_some((share, missing))
        })
        .collect()
}

/// One result per share, in the job's order, its metrics and footprint left empty. A share where no trial has samples
/// has none.
#[must_use]
pub fn share_results(quiet: &Quiet) -> Vec<ShareResult> {
    quiet.shares.iter().filter_map(|&share| share_result(quiet, share)).collect()
}

fn share_result(quiet: &Quiet, share: u8) -> Option<ShareResult> {
    let here = quiet.samples.get(&share)?;
    let timed = |trial: u32| timed(here, quiet.configurations, trial);
    let winner = *quiet.winners.get(&share)?;

    let served = quiet
        .shares
        .iter()
        .map(|&tuned_at| Served {
            tuned_at,
            time_ns: quiet.winners.get(&tuned_at).and_then(|trial| median(here.get(trial)?)),
        })
        .collect();

    // The winner may come from the second pass.
    let listed: BTreeSet<u32> =
        quiet.finalists.get(&share).into_iter().flatten().copied().chain([winner]).collect();
    let mut finalists: Vec<Timed> = listed.into_iter().filter_map(timed).collect();
    finalists.sort_by_key(|t| (t.time_ns, t.trial));

    Some(ShareResult {
        share,
        best: timed(winner)?,
        baseline: timed(quiet.default),
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
    use crate::kernel::Value;

    fn samples(table: &[(u8, &[(u32, u64)])]) -> QuietSamples {
        let trials = |row: &[(u32, u64)]| row.iter().map(|&(t, ns)| (t, vec![ns; 6])).collect();
        table.iter().map(|&(share, row)| (share, trials(row))).collect()
    }

    fn results_of(samples: &QuietSamples, shares: &[u8]) -> Vec<ShareResult> {
        let configurations = (0..10)
            .map(|t| (t, Configuration(BTreeMap::from([("x".to_owned(), Value::Int(i64::from(t)))]))))
            .collect();
        let finalists = BTreeMap::from([(25, vec![3, 1]), (100, vec![2, 4])]);
        share_results(&Quiet {
            samples,
            winners: &winners(samples),
            configurations: &configurations,
            default: 0,
            shares,
            finalists: &finalists,
        })
    }

    #[test]
    fn each_share_has_its_winner_and_the_times_of_the_others_winners() {
        let quiet = samples(&[
            (25, &[(0, 900), (1, 400), (3, 500), (2, 520)]),
            (100, &[(0, 300), (2, 100), (4, 120), (1, 150)]),
        ]);
        let results = results_of(&quiet, &[100, 25]);
        assert_eq!(results.iter().map(|r| (r.share, r.best.trial)).collect::<Vec<_>>(), [(100, 2), (25, 1)]);
        let at_25 = &results[1];
        assert_eq!(
            at_25.served,
            [Served { tuned_at: 100, time_ns: Some(520) }, Served { tuned_at: 25, time_ns: Some(400) }]
        );
        assert!((at_25.speedup().unwrap() - 2.25).abs() < 1e-9);
        assert!((at_25.loss_with_choice_of(100).unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(at_25.finalists.iter().map(|t| t.trial).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(at_25.best.samples, 6);
    }

    #[test]
    fn a_winner_that_failed_elsewhere_has_no_time_there() {
        let mut quiet = samples(&[(25, &[(1, 400)]), (100, &[(2, 100), (0, 300)])]);
        quiet.get_mut(&25).unwrap().insert(2, Vec::new());
        let results = results_of(&quiet, &[25, 100]);
        assert_eq!(results[0].served[1], Served { tuned_at: 100, time_ns: None });
        assert_eq!(results[0].baseline, None);
    }

    #[test]
    fn a_share_without_samples_has_no_result() {
        let quiet = samples(&[(25, &[(1, 400)])]);
        let results = results_of(&quiet, &[25, 100]);
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].served[1], Served { tuned_at: 100, time_ns: None });
    }

    #[test]
    fn the_second_pass_measures_what_is_missing_and_not_what_failed() {
        let mut quiet = samples(&[(25, &[(1, 400), (0, 900)]), (50, &[(1, 200)]), (100, &[(2, 100)])]);
        quiet.get_mut(&100).unwrap().insert(1, Vec::new());
        let plan = cross_plan(&winners(&quiet), 0, &quiet);
        assert_eq!(plan, BTreeMap::from([(25, vec![2]), (50, vec![0, 2]), (100, vec![0])]));
    }

    #[test]
    fn a_second_pass_that_finds_a_faster_trial_changes_the_winner() {
        let quiet = samples(&[(25, &[(1, 400), (2, 380), (0, 900)]), (100, &[(2, 100), (1, 150), (0, 300)])]);
        let results = results_of(&quiet, &[25, 100]);
        assert_eq!(results[0].best.trial, 2);
        assert_eq!(results[0].finalists.iter().map(|t| t.trial).collect::<Vec<_>>(), [2, 1]);
        assert!(cross_plan(&winners(&quiet), 0, &quiet).is_empty());
    }
}
