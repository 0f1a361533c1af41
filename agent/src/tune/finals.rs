//! The end of a task: the finalists of every share are measured again, quietly and in turns, and only those
//! numbers are reported.

use std::collections::{BTreeMap, BTreeSet};

use fractune_tuner::condition::{Condition, conditions};
use fractune_tuner::kernel::Configuration;
use fractune_tuner::measure::{FinalSamples, Measured, cross_plan, result_under, suspects, winners};
use fractune_tuner::results::{LoadedResult, ShareResult};
use fractune_tuner::trial::Trial;

use super::backend::Prepared;
use super::confirm::confirm;
use super::plan::{Event, RunError};
use super::rounds::{Seen, rounds};
use super::search::Found;
use super::session::Runner;
use super::{TaskRun, loaded};
use crate::compile::CompileFailure;

/// How many of another share's finalists join a share's own where winners are not confirmed: among them, most likely, the
/// other's winner.
const GUESTS: usize = 3;
/// What is known of a task's finalists.
pub(super) struct Known {
    /// Under every condition.
    pub(super) finalists: BTreeMap<Condition, Vec<u32>>,
    /// Finalists and the default that are ready to be loaded.
    pub(super) prepared: Vec<Prepared>,
    /// What the rounds gave, and in its place what the confirmation did; nothing for what failed.
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
    let mut known = Known {
        finalists,
        prepared,
        samples: FinalSamples::new(),
        winners: BTreeMap::new(),
        default,
        seen: Seen::default(),
    };
    let confirms = run.backend.confirms();
    for runner in &mut *runners {
        let here = Condition::quiet(runner.share);
        let own = known.finalists.get(&here).into_iter().flatten().copied().collect();
        // Finalists were verified in the search, and winners are when they are confirmed, which also tells what
        // the others' winners take here.
        let asked = if confirms { Vec::new() } else { guests(&known, here) };
        runner.trust(confirms);
        let taken = rounds(run, runner, &known.prepared, own, asked, &mut known.seen).await?;
        runner.trust(false);
        known.samples.insert(here, taken);
    }
    if confirms {
        confirm(run, runners, &mut known).await?;
    } else {
        complete(run, runners, &mut known).await?;
    }
    Ok(known)
}

/// Some of the other shares' finalists, and the default.
fn guests(known: &Known, here: Condition) -> Vec<u32> {
    let others = known.finalists.iter().filter(|(condition, _)| **condition != here);
    others.flat_map(|(_, trials)| trials.iter().take(GUESTS)).copied().chain([known.default]).collect()
}

impl Known {
    /// Takes out what answered wrongly: a wrong answer at any share condemns a trial everywhere.
    pub(super) fn take_out(&mut self) {
        let condemned = &self.seen.condemned;
        let judged = self.samples.values_mut().flatten().filter(|(trial, _)| condemned.contains(trial));
        judged.for_each(|(_, samples)| samples.clear());
        self.prepared.retain(|prepared| !condemned.contains(&prepared.trial));
    }

    /// The winners of what is left.
    pub(super) fn judge(&mut self) {
        self.take_out();
        self.winners = winners(&self.samples);
    }
}

/// Measures what is missing of the share matrix. A share's winner may be none of the guests elsewhere, and a late guest may
/// win: until nothing is missing.
async fn complete(run: &TaskRun<'_>, runners: &mut [Runner<'_>], known: &mut Known) -> Result<(), RunError> {
    loop {
        known.judge();
        let missing = cross_plan(&known.winners, known.default, &known.samples);
        if missing.is_empty() {
            return Ok(());
        }
        for runner in &mut *runners {
            let here = Condition::quiet(runner.share);
            let Some(entries) = missing.get(&here) else { continue };
            // Beside this share's winner, so that the two are comparable.
            let asked = entries.iter().chain(known.winners.get(&here)).copied().collect();
            let taken = rounds(run, runner, &known.prepared, BTreeSet::new(), asked, &mut known.seen).await?;
            remember(known.samples.entry(here).or_default(), entries, taken);
        }
    }
}

/// Adds what rounds gave. An entry that failed is known to have failed, and not asked for again.
pub(super) fn remember(known: &mut BTreeMap<u32, Vec<u64>>, entries: &[u32], taken: BTreeMap<u32, Vec<u64>>) {
    for &entry in entries {
        known.entry(entry).or_default();
    }
    known.extend(taken);
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
