//! Rounds between trials with the whole gate held, whoever asks for them and why.

use std::collections::{BTreeMap, BTreeSet};

use fractune_tuner::condition::Condition;
use fractune_tuner::measure::{Finals, FinalsPolicy};
use fractune_tuner::results::Footprint;
use fractune_tuner::trial::Outcome;

use super::TaskRun;
use super::backend::Prepared;
use super::batch::acquire;
use super::plan::{Event, RunError};
use super::session::Runner;
use crate::gate::{Need, Permit};

/// Rounds in a place, at least, and run time of one of their turns in nanoseconds.
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
    pub(super) footprints: BTreeMap<u32, Footprint>,
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

/// Rounds in one place of the GPU's memory, with the whole gate held once; `elsewhere` than before, or in a worker that is new.
pub(super) async fn brief(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    prepared: &[Prepared],
    asked: Vec<u32>,
    elsewhere: bool,
    seen: &mut Seen,
) -> Result<BTreeMap<u32, Vec<u64>>, RunError> {
    let condition = Condition::quiet(runner.share);
    (run.listener)(Event::Finals { task: run.number, condition, entries: asked.len() });
    runner.open_ahead().await?;
    let _quiet = acquire(run.gate, Need::Quiet).await?;
    if elsewhere {
        runner.relocate().await?;
    }
    turns(run, runner, prepared, asked.clone(), &asked, seen, Manner::Brief).await
}

/// How turns are made, and who holds the whole gate meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The caller holds it, from before the first turn until after the last.
    Kept,
    /// Each round does, so that others wait for a round, and not for all of them.
    ByRound,
    /// The caller holds it, for few and short turns: what is asked is not how times scatter in one place, but how they
    /// do from place to place.
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
