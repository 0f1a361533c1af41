//! The end of a task: the finalists of every share are measured again, quietly and in turns, and only those
//! numbers are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use fractune_tuner::condition::{Condition, conditions};
use fractune_tuner::kernel::Configuration;
use fractune_tuner::measure::{FinalSamples, Measured, cross_plan, median, result_under, suspects, winners};
use fractune_tuner::results::{LoadedResult, ShareResult};
use fractune_tuner::trial::Trial;

use super::backend::Prepared;
use super::plan::{Event, RunError};
use super::rounds::{Seen, brief, rounds};
use super::search::Found;
use super::session::Runner;
use super::{TaskRun, loaded};
use crate::compile::CompileFailure;

/// How many of another share's finalists join a share's own: among them, most likely, the other's winner.
const GUESTS: usize = 3;
/// Places in the GPU's memory where a share's winner is measured: at least, and at most while they disagree.
const CONFIRMATIONS: RangeInclusive<usize> = 4..=8;
/// In the first of them the other shares' winners are measured, too: what the share matrix says of those is less at stake.
const WITH_GUESTS: usize = 2;

/// What is known of a task's finalists.
pub(super) struct Known {
    /// Under every condition.
    pub(super) finalists: BTreeMap<Condition, Vec<u32>>,
    /// Finalists and guests that are ready to be loaded.
    pub(super) prepared: Vec<Prepared>,
    /// What the rounds gave.
    pub(super) samples: FinalSamples,
    pub(super) winners: BTreeMap<Condition, u32>,
    /// Number of the default configuration's trial.
    pub(super) default: u32,
    pub(super) seen: Seen,
}

/// Measures the finalists of every share, builds the share matrix, and measures again beside the loads that the job asks
/// for. Empty if no trial is `Ok`. The number is of trials that are among the finalists because they were disturbed.
pub(super) async fn finals(
    run: &TaskRun<'_>,
    found: &Found,
    runners: &mut [Runner<'_>],
) -> Result<(Vec<ShareResult>, Vec<LoadedResult>, u32), RunError> {
    let trials = &found.trials;
    let suspected = suspected(run, found);
    let again = suspected.values().flatten().collect::<BTreeSet<_>>().len() as u32;
    let mut known = quiet(run, trials, suspected, runners).await?;
    let loads = Box::pin(loaded::measure(run, trials, runners, &mut known)).await?;
    let conditions = conditions(&run.plan.shares, &run.plan.neighbours);
    let configurations: BTreeMap<u32, Configuration> =
        known.prepared.iter().map(|prepared| (prepared.trial, prepared.configuration.clone())).collect();
    let measured = Measured {
        samples: &known.samples,
        winners: &known.winners,
        configurations: &configurations,
        default: known.default,
        conditions: &conditions,
        finalists: &known.finalists,
    };
    let result = |condition: Condition| {
        let mut result = result_under(&measured, condition)?;
        if let Some(index) = run.task.space.index_of(&result.best.configuration) {
            result.metrics = run.task.metrics(index, result.best.time_ns);
        }
        result.footprint = known.seen.footprints.get(&result.best.trial).copied();
        Some(result)
    };
    let quiet = conditions.iter().filter(|condition| condition.neighbours.is_quiet());
    let loaded = conditions.iter().filter_map(|condition| {
        let load = *loads.get(condition)?;
        Some(LoadedResult { neighbours: condition.neighbours, result: result(*condition)?, load })
    });
    Ok((quiet.filter_map(|condition| result(*condition)).collect(), loaded.collect(), again))
}

/// Of every share, the trials that a neighbour of somebody else's may have kept from the finalists.
fn suspected(run: &TaskRun<'_>, found: &Found) -> BTreeMap<Condition, Vec<u32>> {
    let of = |share: u8| {
        let times = found.trials.iter().filter_map(|trial| Some((trial.trial, trial.time_ns(share)?)));
        suspects(&times.collect::<Vec<_>>(), &found.disturbed, run.plan.measure.finalists as usize)
    };
    run.plan.shares.iter().map(|&share| (Condition::quiet(share), of(share))).collect()
}

/// The quiet rounds of every share.
async fn quiet(
    run: &TaskRun<'_>,
    trials: &[Trial],
    suspected: BTreeMap<Condition, Vec<u32>>,
    runners: &mut [Runner<'_>],
) -> Result<Known, RunError> {
    let default = trials.first().map_or(0, |trial| trial.trial);
    let count = run.plan.measure.finalists as usize;
    let mut finalists: BTreeMap<Condition, Vec<u32>> = BTreeMap::new();
    for &share in &run.plan.shares {
        finalists.insert(Condition::quiet(share), fastest(trials, share, count));
    }
    for (condition, suspected) in suspected {
        finalists.entry(condition).or_default().extend(suspected);
    }
    let mut prepared = Vec::new();
    for number in entrants(&finalists, trials, default) {
        prepared.extend(prepare(run, trials, number).await?);
    }
    let mut seen = Seen::default();
    let mut samples = FinalSamples::new();
    for runner in &mut *runners {
        let here = Condition::quiet(runner.share);
        let guests = finalists.iter().filter(|(condition, _)| **condition != here);
        let guests = guests.flat_map(|(_, trials)| trials.iter().take(GUESTS));
        let asked: Vec<u32> = guests.copied().chain([default]).collect();
        let own = finalists.get(&here).into_iter().flatten().copied().collect();
        let taken = rounds(run, runner, &prepared, own, asked, &mut seen).await?;
        samples.insert(here, taken);
    }
    // A share's winner may be none of the guests elsewhere, and a late guest may win: until nothing is missing.
    loop {
        // A wrong answer at any share condemns a trial everywhere.
        let judged = samples.values_mut().flatten().filter(|(trial, _)| seen.condemned.contains(trial));
        judged.for_each(|(_, samples)| samples.clear());
        prepared.retain(|prepared| !seen.condemned.contains(&prepared.trial));
        let winners = winners(&samples);
        let missing = cross_plan(&winners, default, &samples);
        if missing.is_empty() {
            break;
        }
        for runner in &mut *runners {
            let here = Condition::quiet(runner.share);
            let Some(entries) = missing.get(&here) else { continue };
            // Beside this share's winner, so that the two are comparable.
            let asked = entries.iter().chain(winners.get(&here)).copied().collect();
            let taken = rounds(run, runner, &prepared, BTreeSet::new(), asked, &mut seen).await?;
            remember(samples.entry(here).or_default(), entries, taken);
        }
    }
    let mut winners = winners(&samples);
    if run.backend.confirms() {
        let confirmed = confirm(run, runners, &prepared, &winners, default, &samples, &mut seen).await?;
        // A share where nothing could be confirmed keeps what the rounds gave.
        winners.extend(fractune_tuner::measure::winners(&confirmed));
        for (condition, taken) in confirmed {
            samples.entry(condition).or_default().extend(taken);
        }
        for taken in samples.values_mut() {
            taken.retain(|trial, _| !seen.condemned.contains(trial));
        }
        winners.retain(|_, trial| !seen.condemned.contains(trial));
    }
    Ok(Known { finalists, prepared, samples, winners, default, seen })
}

/// Whether rounds have measured a trial under a condition.
pub(super) fn runs(samples: &FinalSamples, condition: Condition, trial: u32) -> bool {
    samples.get(&condition).and_then(|trials| trials.get(&trial)).is_some_and(|taken| !taken.is_empty())
}

/// Adds what rounds gave. An entry that failed is known to have failed, and not asked for again.
pub(super) fn remember(known: &mut BTreeMap<u32, Vec<u64>>, entries: &[u32], taken: BTreeMap<u32, Vec<u64>>) {
    for &entry in entries {
        known.entry(entry).or_default();
    }
    known.extend(taken);
}

/// Measures the winners and the default once more, each share in a worker of its own with no other of the task beside it,
/// and in several places of the GPU's memory: what a worker got by chance, and idle clients of the same GPU, are worth a few
/// percent. Further places are tried while the winner's medians lie further apart than half of the noise that the job
/// allows.
async fn confirm(
    run: &TaskRun<'_>,
    runners: &mut [Runner<'_>],
    prepared: &[Prepared],
    winners: &BTreeMap<Condition, u32>,
    default: u32,
    samples: &FinalSamples,
    seen: &mut Seen,
) -> Result<FinalSamples, RunError> {
    let entries: BTreeSet<u32> = winners.values().copied().chain([default]).collect();
    let mut confirmed = FinalSamples::new();
    for runner in &mut *runners {
        runner.stop().await;
    }
    run.canary.rest().await;
    for runner in runners {
        let here = Condition::quiet(runner.share);
        // Nothing is verified any more: what failed at this share stays out.
        let passed: Vec<u32> = entries.iter().copied().filter(|entry| runs(samples, here, *entry)).collect();
        if passed.is_empty() {
            continue;
        }
        let own = |entry: &u32| *entry == default || winners.get(&here) == Some(entry);
        let mut medians = Vec::new();
        runner.trust(true);
        for number in 1..=*CONFIRMATIONS.end() {
            let asked = passed.iter().filter(|entry| number <= WITH_GUESTS || own(entry)).copied().collect();
            let samples = brief(run, runner, prepared, asked, number > 1, seen).await?;
            let known: &mut BTreeMap<u32, Vec<u64>> = confirmed.entry(here).or_default();
            let winner = winners.get(&here).and_then(|winner| samples.get(winner));
            medians.extend(winner.and_then(|samples| median(samples)));
            for (trial, samples) in samples {
                known.entry(trial).or_default().extend(samples);
            }
            if number >= *CONFIRMATIONS.start() && agree(&medians, run.plan.measure.max_noise_percent) {
                break;
            }
        }
        runner.stop().await;
        runner.trust(false);
    }
    for known in confirmed.values_mut() {
        known.retain(|trial, _| !seen.condemned.contains(trial));
    }
    Ok(confirmed)
}

/// Whether the times lie as close together as three do by chance alone only seldom: within half of `percent`.
fn agree(times_ns: &[u64], percent: u32) -> bool {
    match (times_ns.iter().min(), times_ns.iter().max()) {
        (Some(least), Some(most)) => (most - least) * 200 <= least * u64::from(percent),
        _ => true,
    }
}

/// Times in nanoseconds and numbers of the trials that have one at a share, fastest first.
pub(super) fn by_time(trials: &[Trial], share: u8) -> Vec<(u64, u32)> {
    let mut timed: Vec<_> = trials.iter().filter_map(|t| Some((t.time_ns(share)?, t.trial))).collect();
    timed.sort_unstable();
    timed
}

/// The `count` fastest trials at a share, fastest first.
fn fastest(trials: &[Trial], share: u8, count: usize) -> Vec<u32> {
    by_time(trials, share).into_iter().take(count).map(|(_, trial)| trial).collect()
}

/// Every finalist, and the default if it was timed anywhere.
fn entrants(finalists: &BTreeMap<Condition, Vec<u32>>, trials: &[Trial], default: u32) -> BTreeSet<u32> {
    let is_timed = trials.first().is_some_and(|trial| trial.measurements.iter().any(|m| m.time_ns.is_some()));
    finalists.values().flatten().copied().chain(is_timed.then_some(default)).collect()
}

/// Compiles a finalist again where an earlier run, whose artifacts are gone, made the trial. None, and a note,
/// if it does not compile any more.
pub(super) async fn prepare(
    run: &TaskRun<'_>,
    trials: &[Trial],
    number: u32,
) -> Result<Option<Prepared>, RunError> {
    let trial = trials.iter().find(|trial| trial.trial == number);
    let Some(index) = trial.and_then(|trial| run.task.space.index_of(&trial.configuration)) else {
        return Ok(None);
    };
    match run.backend.prepare(run.gate, run.task, number, index).await {
        Ok(prepared) => Ok(Some(prepared)),
        Err(CompileFailure::Candidate { message, .. }) => {
            let name = run.task.name();
            (run.listener)(Event::Note(format!(
                "{name}: trial {number} compiled before, and now: {message}"
            )));
            Ok(None)
        }
        Err(CompileFailure::Machine(why)) => Err(RunError::Io(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_agree_within_half_of_the_noise_that_is_allowed() {
        assert!(agree(&[1000, 1005, 1002], 1));
        assert!(!agree(&[1000, 1006], 1));
        assert!(agree(&[], 1), "a winner that failed everywhere needs no further place");
    }
}
