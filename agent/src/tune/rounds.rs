//! Rounds between trials with the whole gate held, whoever asks for them and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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

/// Run time in nanoseconds of a turn where others wait for the gate: some twenty samples of a short kernel.
const SHORT_TURN_NS: u64 = 4_000_000;
/// Rounds in a place, at least and at most.
const BRIEF_ROUNDS: (u32, u32) = (3, 4);
/// They give the gate back after a round once they have held it for so long: some kernels take half a second.
const BRIEF_HOLD: Duration = Duration::from_millis(200);

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

/// Rounds with the whole gate held, elsewhere in the GPU's memory than the last ones of this worker.
pub(super) async fn brief(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    prepared: &[Prepared],
    asked: Vec<u32>,
    seen: &mut Seen,
) -> Result<BTreeMap<u32, Vec<u64>>, RunError> {
    let condition = Condition::quiet(runner.share);
    (run.listener)(Event::Finals { task: run.number, condition, entries: asked.len() });
    runner.open_ahead().await?;
    let quiet = acquire(run.gate, Need::Quiet).await?;
    runner.relocate().await?;
    turns(run, runner, prepared, asked.clone(), &asked, seen, Manner::Brief(quiet)).await
}

/// How turns are made, and who holds the whole gate meanwhile.
pub(super) enum Manner {
    /// The caller holds it, from before the first turn until after the last.
    Kept,
    /// Each round does, so that others wait for a round, and not for all of them.
    ByRound,
    /// It is held already, for few and short turns: what is asked is not how times scatter in one place, but how they
    /// do from place to place.
    Brief(Permit),
}

impl Manner {
    fn policy(&self, run: &TaskRun<'_>, runner: &Runner<'_>, entries: usize) -> FinalsPolicy {
        let noise_percent = f64::from(run.plan.measure.max_noise_percent);
        let kept = FinalsPolicy::new(noise_percent, runner.finalist_budget_ns() * entries as u64);
        match self {
            Manner::Kept => kept,
            Manner::ByRound => FinalsPolicy { turn_ns: SHORT_TURN_NS, ..kept },
            Manner::Brief(_) => brief_policy(noise_percent),
        }
    }
}

/// So few rounds that only their number bounds them.
fn brief_policy(noise_percent: f64) -> FinalsPolicy {
    let (min_rounds, max_rounds) = BRIEF_ROUNDS;
    FinalsPolicy {
        min_rounds,
        max_rounds,
        turn_ns: SHORT_TURN_NS,
        ..FinalsPolicy::new(noise_percent, u64::MAX)
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
    // What a round that begins may find held and for how long; none where that is the caller's affair.
    let (longest, mut gate) = match manner {
        Manner::Kept => (None, None),
        Manner::ByRound => (Some(Duration::ZERO), None),
        Manner::Brief(permit) => (Some(BRIEF_HOLD), Some((permit, Instant::now()))),
    };
    let mut round = None;
    let mut lost_between = 0;
    while let Some(turn) = finals.next() {
        let begins = round.replace(finals.rounds()) != Some(finals.rounds());
        let is_over = |longest| gate.as_ref().is_none_or(|(_, since)| since.elapsed() >= longest);
        let is_first = begins && longest.is_some_and(is_over);
        if is_first {
            drop(gate.take());
            gate = Some((acquire(run.gate, Need::Quiet).await?, Instant::now()));
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

    /// Samples of each entry, and all run time in milliseconds, where a run of each takes so many nanoseconds.
    fn brief(times_ns: &[u64]) -> (Vec<usize>, u64) {
        let entries: Vec<u32> = (0..times_ns.len() as u32).collect();
        let mut finals = Finals::new(entries.clone(), &entries, brief_policy(1.0));
        let mut spent_ns = 0;
        while let Some(turn) = finals.next() {
            let run_ns = times_ns[turn.trial as usize];
            // As the worker takes them: short launches in graphs.
            let launches = if run_ns < 500_000 { 200_000_u64.div_ceil(run_ns).max(2) } else { 1 };
            finals.record(turn.trial, &vec![run_ns; turn.runs as usize], launches as u32);
            spent_ns += run_ns * launches * u64::from(turn.runs);
        }
        let mut standings = finals.standings();
        standings.sort_by_key(|standing| standing.trial);
        (standings.iter().map(|standing| standing.samples.len()).collect(), spent_ns / 1_000_000)
    }

    #[test]
    fn a_place_gives_three_samples_at_least_also_beside_a_slow_default_and_is_over_soon() {
        for times_ns in [[200_000, 8_000_000], [5_000_000, 15_000_000], [500_000_000; 2]] {
            let (samples, _) = brief(&times_ns);
            assert!(samples.iter().all(|&count| count >= 3), "{times_ns:?}: {samples:?}");
        }
        let (samples, spent_ms) = brief(&[3_000; 4]);
        assert!(samples.iter().all(|&count| count > 20) && spent_ms < 60, "{samples:?}, {spent_ms} ms");
    }
}
