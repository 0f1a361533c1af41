//! The end of a task: the finalists of every share are measured again, quietly and in turns, and only those
//! numbers are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use fractune_tuner::condition::{Condition, conditions};
use fractune_tuner::kernel::Configuration;
use fractune_tuner::measure::{
    FinalSamples, Finals, FinalsPolicy, Measured, cross_plan, median, result_under, suspects, winners,
};
use fractune_tuner::results::{Footprint, LoadedResult, ShareResult};
use fractune_tuner::trial::{Outcome, Trial};

use super::backend::Prepared;
use super::batch::acquire;
use super::plan::{Event, RunError};
use super::search::Found;
use super::session::Runner;
use super::{TaskRun, loaded};
use crate::compile::CompileFailure;
use crate::gate::{Need, Permit};

/// How many of another share's finalists join a share's own: among them, most likely, the other's winner.
const GUESTS: usize = 3;
/// Fresh workers that measure a share's winner: at least, and at most while they disagree.
const CONFIRMATIONS: RangeInclusive<usize> = 4..=8;
/// The first of them measure the other shares' winners, too: what the share matrix says of those is less at stake.
const WITH_GUESTS: usize = 2;
/// Rounds of a fresh worker, at least, and run time of one of their turns in nanoseconds.
const BRIEF_ROUNDS: u32 = 3;
const BRIEF_TURN_NS: u64 = 4_000_000;

/// So often a worker may be found dead when its round begins, before that is held against who has the turn.
const MOST_LOST: u32 = 20;

/// What rounds tell of trials beside their times.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Trials that answered wrongly, under whatever condition.
    pub(super) condemned: BTreeSet<u32>,
    /// Trials that failed in their turn, in rounds since this was last emptied.
    pub(super) failed: BTreeSet<u32>,
    /// What trials ask of the device, which is the same at every share.
    footprints: BTreeMap<u32, Footprint>,
}

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
        let confirmed = confirm(run, runners, &prepared, &winners, default, &mut seen).await?;
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

/// Adds what rounds gave. An entry that failed is known to have failed, and not asked for again.
pub(super) fn remember(known: &mut BTreeMap<u32, Vec<u64>>, entries: &[u32], taken: BTreeMap<u32, Vec<u64>>) {
    for &entry in entries {
        known.entry(entry).or_default();
    }
    known.extend(taken);
}

/// Measures the winners and the default once more, each share in workers of its own with no other of the task beside them:
/// memory that a worker got by chance, and idle clients of the same GPU, are worth a few percent. Further workers
/// are asked while the winner's medians lie further apart than the noise that the job allows.
async fn confirm(
    run: &TaskRun<'_>,
    runners: &mut [Runner<'_>],
    prepared: &[Prepared],
    winners: &BTreeMap<Condition, u32>,
    default: u32,
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
        let mut medians = Vec::new();
        runner.trust(true);
        for number in 1..=*CONFIRMATIONS.end() {
            let own = |entry: &&u32| **entry == default || winners.get(&here) == Some(*entry);
            let asked = entries.iter().filter(|entry| number <= WITH_GUESTS || own(entry)).copied().collect();
            let samples = brief(run, runner, prepared, asked, seen).await?;
            let known: &mut BTreeMap<u32, Vec<u64>> = confirmed.entry(here).or_default();
            let winner = winners.get(&here).and_then(|winner| samples.get(winner));
            medians.extend(winner.and_then(|samples| median(samples)));
            for (trial, samples) in samples {
                known.entry(trial).or_default().extend(samples);
            }
            if number >= *CONFIRMATIONS.start() && agree(&medians, run.plan.measure.max_noise_percent) {
                break;
            }
            if number < *CONFIRMATIONS.end() {
                runner.renew().await?;
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

/// Whether all times lie within `percent` of the least.
fn agree(times_ns: &[u64], percent: u32) -> bool {
    match (times_ns.iter().min(), times_ns.iter().max()) {
        (Some(least), Some(most)) => (most - least) * 100 <= least * u64::from(percent),
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

/// One share's rounds with the whole gate held and nothing beside, between `contenders`, which are dropped once they cannot win,
/// and those whose time is `asked` for in any case. Entries that failed or were dropped are left out.
pub(super) async fn rounds(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    prepared: &[Prepared],
    contenders: BTreeSet<u32>,
    asked: Vec<u32>,
    seen: &mut Seen,
) -> Result<BTreeMap<u32, Vec<u64>>, RunError> {
    let entries: BTreeSet<u32> = contenders.into_iter().chain(asked.iter().copied()).collect();
    let entries: Vec<u32> = entries.into_iter().filter(|e| prepared.iter().any(|p| p.trial == *e)).collect();
    if entries.is_empty() {
        return Ok(BTreeMap::new());
    }
    let condition = Condition::quiet(runner.share);
    (run.listener)(Event::Finals { task: run.number, condition, entries: entries.len() });
    runner.open_ahead().await?;
    if run.backend.yields_between_rounds() {
        return turns(run, runner, prepared, entries, &asked, seen, Manner::ByRound).await;
    }
    let _quiet = acquire(run.gate, Need::Quiet).await?;
    turns(run, runner, prepared, entries, &asked, seen, Manner::Kept).await
}

/// A fresh worker's rounds, with the whole gate held once.
async fn brief(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    prepared: &[Prepared],
    asked: Vec<u32>,
    seen: &mut Seen,
) -> Result<BTreeMap<u32, Vec<u64>>, RunError> {
    let condition = Condition::quiet(runner.share);
    (run.listener)(Event::Finals { task: run.number, condition, entries: asked.len() });
    runner.open_ahead().await?;
    let _quiet = acquire(run.gate, Need::Quiet).await?;
    turns(run, runner, prepared, asked.clone(), &asked, seen, Manner::Brief).await
}

/// How turns are made, and who holds the whole gate meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The caller holds it, from before the first turn until after the last.
    Kept,
    /// Each round does, so that others wait for a round, and not for all of them.
    ByRound,
    /// The caller holds it, for few and short turns: what is asked is not how a worker's times scatter, but
    /// which times this worker has.
    Brief,
}

impl Manner {
    fn policy(self, run: &TaskRun<'_>, runner: &Runner<'_>, entries: usize) -> FinalsPolicy {
        let noise_percent = f64::from(run.plan.measure.max_noise_percent);
        let budget_ns = |least_ns| runner.finalist_budget_ns(least_ns) * entries as u64;
        match self {
            Manner::Kept | Manner::ByRound => {
                FinalsPolicy::new(noise_percent, budget_ns(run.backend.finalist_budget_ns()))
            }
            Manner::Brief => FinalsPolicy {
                min_rounds: BRIEF_ROUNDS,
                turn_ns: BRIEF_TURN_NS,
                ..FinalsPolicy::new(noise_percent, budget_ns(u64::from(BRIEF_ROUNDS + 1) * BRIEF_TURN_NS))
            },
        }
    }
}

/// The turns of rounds, whoever else is kept off the device or put on it.
pub(super) async fn turns(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    prepared: &[Prepared],
    entries: Vec<u32>,
    asked: &[u32],
    seen: &mut Seen,
    manner: Manner,
) -> Result<BTreeMap<u32, Vec<u64>>, RunError> {
    let policy = manner.policy(run, runner, entries.len());
    let mut finals = Finals::new(entries, asked, policy);
    let limit = runner.limit(None);
    let mut loaded = BTreeSet::new();
    let mut excused = BTreeSet::new();
    let mut gate: Option<(u32, Permit)> = None;
    let mut lost_between = 0;
    while let Some(turn) = finals.next() {
        let round = finals.rounds();
        let is_first = manner == Manner::ByRound && gate.as_ref().is_none_or(|(since, _)| *since != round);
        if is_first {
            drop(gate.take());
            gate = Some((round, acquire(run.gate, Need::Quiet).await?));
        }
        let Some(entry) = prepared.iter().find(|prepared| prepared.trial == turn.trial) else {
            finals.fail(turn.trial);
            continue;
        };
        let opened = if loaded.contains(&turn.trial) { Ok(None) } else { runner.open(entry, limit).await };
        let times = match opened {
            Ok(footprint) => {
                seen.footprints.extend(footprint.map(|footprint| (turn.trial, footprint)));
                runner.run(entry, turn.runs, limit).await
            }
            Err(failure) => Err(failure),
        };
        match times {
            Ok(times) => {
                loaded.insert(turn.trial);
                finals.record(turn.trial, &times.times_ns, times.launches);
            }
            Err(trouble) => {
                let measured = runner.judge(trouble, entry, limit).await?;
                loaded.remove(&turn.trial);
                if !runner.is_running() {
                    loaded.clear();
                }
                if measured.outcome == Outcome::WrongAnswer {
                    seen.condemned.insert(turn.trial);
                }
                // Others were on the device since the last round, and may have taken it from this worker.
                let was_between = is_first && measured.device_error && lost_between < MOST_LOST;
                lost_between += u32::from(was_between);
                // A worker may die through no fault of this entry, but not twice: it has its turn again.
                if !was_between && (!measured.device_error || !excused.insert(turn.trial)) {
                    finals.fail(turn.trial);
                    seen.failed.insert(turn.trial);
                }
            }
        }
    }
    for entry in prepared.iter().filter(|entry| loaded.contains(&entry.trial)) {
        runner.close(entry).await;
    }
    let stayed = finals.standings().into_iter().filter(|standing| standing.stayed);
    Ok(stayed.map(|standing| (standing.trial, standing.samples)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_agree_within_the_noise_that_is_allowed() {
        assert!(agree(&[1000, 1010, 1002], 1));
        assert!(!agree(&[1000, 1011], 1));
        assert!(agree(&[], 1), "a winner that failed everywhere needs no further worker");
    }
}
