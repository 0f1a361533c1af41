//! Finalists once more, beside known loads on the rest of the GPU: serving is rarely quiet.

use std::collections::{BTreeMap, BTreeSet};

use fractune_tuner::condition::{Condition, conditions};
use fractune_tuner::measure::{cross_plan, median, winners};
use fractune_tuner::results::Load;
use fractune_tuner::trial::Trial;

use super::TaskRun;
use super::batch::acquire;
use super::confirm::confirm;
use super::finals::{Known, by_time, prepare, remember};
use super::plan::{Event, RunError};
use super::rounds::{Manner, rounds, turns};
use super::session::Runner;
use crate::gate::Need;

/// Whatever is within this ratio of a share's best in the search may be the best beside a load (on an H100 a tile that was
/// second by 21 % won).
const WITHIN: f64 = 1.3;
/// So many of them at most, the fastest.
const MOST: usize = 32;
/// Memory beside a streaming load is up to this many times as slow (1.7 to 2.8 times, on an H100).
const SLOWER: u64 = 3;
/// How often a load that dies is started again for the same measurement.
const TRIES: u32 = 3;
/// After so many passes what is still missing stays so: each pass may bring forth another winner.
const PASSES: usize = 3;

/// What the loads did, by condition. Nothing where the job asks for quiet winners only.
pub(super) type Loads = BTreeMap<Condition, Load>;

/// Measures under every loaded condition of the job, and adds what that gives to what is known. Winners of a loaded
/// condition are measured under all the others, too, and theirs there.
pub(super) async fn measure(
    run: &TaskRun<'_>,
    trials: &[Trial],
    runners: &mut [Runner<'_>],
    known: &mut Known,
) -> Result<Loads, RunError> {
    let mut loads = Loads::new();
    let all = conditions(&run.plan.shares, &run.plan.neighbours);
    let loaded: Vec<Condition> =
        all.into_iter().filter(|condition| !condition.neighbours.is_quiet()).collect();
    if loaded.is_empty() || known.winners.is_empty() {
        return Ok(loads);
    }
    for condition in &loaded {
        let finalists = contenders(trials, condition.share);
        let guests = guests(known, *condition);
        for &number in finalists.iter().chain(&guests) {
            let is_prepared = known.prepared.iter().any(|prepared| prepared.trial == number);
            if !is_prepared && !known.seen.condemned.contains(&number) {
                known.prepared.extend(prepare(run, trials, number).await?);
            }
        }
        known.finalists.insert(*condition, finalists.clone());
        beside(run, runners, known, *condition, finalists, guests, &mut loads).await?;
    }
    for _ in 0..PASSES {
        settle(run, runners, known).await?;
        let missing = cross_plan(&known.winners, known.default, &known.samples);
        if missing.is_empty() {
            break;
        }
        for (condition, entries) in missing {
            let mut asked: Vec<u32> = entries.iter().chain(known.winners.get(&condition)).copied().collect();
            if !condition.neighbours.is_quiet() {
                let may_run = guests(known, condition);
                asked.retain(|trial| may_run.contains(trial));
                beside(run, runners, known, condition, Vec::new(), asked, &mut loads).await?;
                remember(known.samples.entry(condition).or_default(), &entries, BTreeMap::new());
                continue;
            }
            let Some(runner) = runners.iter_mut().find(|runner| runner.share == condition.share) else {
                continue;
            };
            let taken = rounds(run, runner, &known.prepared, BTreeSet::new(), asked, &mut known.seen).await?;
            // The winner keeps its confirmed time.
            let taken = taken.into_iter().filter(|(trial, _)| entries.contains(trial)).collect();
            remember(known.samples.entry(condition).or_default(), &entries, taken);
        }
    }
    settle(run, runners, known).await?;
    Ok(loads)
}

/// Takes what answered wrongly anywhere out of everything, and finds the winners of the loaded conditions. Quiet winners
/// stay those that were confirmed; where one was taken out, what is left is confirmed.
async fn settle(run: &TaskRun<'_>, runners: &mut [Runner<'_>], known: &mut Known) -> Result<(), RunError> {
    known.take_out();
    known.winners.retain(|condition, _| condition.neighbours.is_quiet());
    if known.winners.values().any(|winner| known.seen.condemned.contains(winner)) {
        confirm(run, runners, known).await?;
    }
    for (condition, trial) in winners(&known.samples) {
        known.winners.entry(condition).or_insert(trial);
    }
    Ok(())
}

/// Winners so far and the default, as far as they are known to run at the condition's share: what fails beside a load
/// ends the load, too.
fn guests(known: &Known, condition: Condition) -> Vec<u32> {
    let quiet = known.samples.get(&Condition::quiet(condition.share));
    let runs =
        |trial: &u32| quiet.is_some_and(|trials| trials.get(trial).is_some_and(|taken| !taken.is_empty()));
    known.winners.values().copied().chain([known.default]).filter(runs).collect()
}

/// One condition's rounds beside its load, with the whole gate held. A load that dies is started again; where it dies
/// again and again, the condition has no result, and a note says so.
async fn beside(
    run: &TaskRun<'_>,
    runners: &mut [Runner<'_>],
    known: &mut Known,
    condition: Condition,
    contenders: Vec<u32>,
    asked: Vec<u32>,
    loads: &mut Loads,
) -> Result<(), RunError> {
    let entries: BTreeSet<u32> = contenders.into_iter().chain(asked.iter().copied()).collect();
    let is_prepared = |entry: &u32| known.prepared.iter().any(|prepared| prepared.trial == *entry);
    let is_condemned = |entry: &u32| known.seen.condemned.contains(entry);
    let entries: Vec<u32> =
        entries.into_iter().filter(|entry| is_prepared(entry) && !is_condemned(entry)).collect();
    if entries.is_empty() {
        return Ok(());
    }
    // Nothing else is beside the load, and there is memory for it.
    for own in &mut *runners {
        own.stop().await;
    }
    (run.listener)(Event::Finals { task: run.number, condition, entries: entries.len() });
    let quiet_ns = known
        .samples
        .get(&Condition::quiet(condition.share))
        .and_then(|trials| trials.values().filter_map(|taken| median(taken)).min());
    let mut why = String::new();
    known.seen.failed.clear();
    for _ in 0..TRIES {
        // What failed may have ended the load.
        let entries: Vec<u32> =
            entries.iter().filter(|entry| !known.seen.failed.contains(*entry)).copied().collect();
        if entries.is_empty() {
            break;
        }
        let started = run.backend.start_neighbour(run.task, condition.neighbours, condition.share).await;
        let mut neighbour = match started {
            Ok(Some(neighbour)) => neighbour,
            Ok(None) => return Ok(()),
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let mut runner = Runner::new(run.backend, run.plan, run.task, condition.share);
        // Rounds must have time for what takes longer beside a load.
        if let Some(ns) = quiet_ns {
            runner.expect(ns.saturating_mul(SLOWER));
        }
        runner.open_ahead().await?;
        let quiet = acquire(run.gate, Need::Quiet).await?;
        let measured = match neighbour.measure_alone().await {
            Ok(()) => {
                let turns = turns(
                    run,
                    &mut runner,
                    &known.prepared,
                    entries.clone(),
                    &asked,
                    &mut known.seen,
                    Manner::Kept,
                );
                Box::pin(neighbour.beside(turns)).await
            }
            Err(failure) => Err(failure),
        };
        drop(quiet);
        runner.stop().await;
        neighbour.stop().await;
        runners.iter_mut().filter(|own| own.share == condition.share).for_each(|own| own.hear(&runner));
        match measured {
            Ok((taken, load)) => {
                known.samples.entry(condition).or_default().extend(taken?);
                loads.entry(condition).or_insert(load);
                return Ok(());
            }
            Err(failure) => why = failure.to_string(),
        }
    }
    let name = run.task.name();
    let what = if loads.contains_key(&condition) { "not all was measured" } else { "not measured" };
    (run.listener)(Event::Note(format!("{name}: {what} at {condition}: its load died each time: {why}")));
    Ok(())
}

/// The trials that may be the best at a share beside a load, fastest first.
fn contenders(trials: &[Trial], share: u8) -> Vec<u32> {
    let timed = by_time(trials, share);
    let best = timed.first().map_or(0, |(time, _)| *time);
    let near = timed.into_iter().take_while(|(time, _)| *time as f64 <= best as f64 * WITHIN);
    near.take(MOST).map(|(_, trial)| trial).collect()
}

#[cfg(test)]
mod tests {
    use fractune_tuner::condition::Neighbours;
    use fractune_tuner::kernel::Configuration;
    use fractune_tuner::trial::{Measurement, Outcome};

    use super::super::fixture;
    use super::*;

    fn trial(trial: u32, time_ns: Option<u64>) -> Trial {
        let outcome = if time_ns.is_some() { Outcome::Ok } else { Outcome::RuntimeError };
        let measurements = vec![Measurement { share: 25, outcome, time_ns, samples_ns: Vec::new() }];
        let configuration = Configuration::default();
        Trial { trial, configuration, outcome, message: None, compile_ns: 0, measurements, elapsed_ms: 0 }
    }

    #[test]
    fn whatever_is_near_the_quiet_best_may_win_beside_a_load() {
        let trials = [trial(0, Some(1300)), trial(1, Some(1000)), trial(2, None), trial(3, Some(1301))];
        assert_eq!(contenders(&trials, 25), [1, 0]);
        assert!(contenders(&trials, 50).is_empty(), "nothing was timed there");
        let many: Vec<Trial> = (0..40).map(|number| trial(number, Some(1000 + u64::from(number)))).collect();
        assert_eq!(contenders(&many, 25).len(), 32);
    }

    #[test]
    fn a_quiet_winner_that_answers_wrongly_beside_a_load_makes_room_for_one_that_is_confirmed() {
        let later = [[Ok(9900), Ok(7000)], [Ok(9100), Ok(9200)], [Ok(8000), Ok(8000)]];
        let quiet = [100, 50].map(Condition::quiet);
        let beside = Condition { share: 50, neighbours: Neighbours::Memory };
        let known = fixture::recorded(later, async |run, runners, known| {
            let samples = BTreeMap::from([(0, vec![21_000]), (1, vec![20_000]), (2, vec![19_000])]);
            known.samples.insert(beside, samples);
            known.winners = quiet.iter().chain([&beside]).map(|&condition| (condition, 2)).collect();
            known.seen.condemned.insert(2);
            settle(run, runners, known).await.unwrap();
        });
        let winner = |condition| known.winners.get(&condition).copied();
        assert_eq!(
            quiet.map(winner),
            [Some(1), Some(0)],
            "the default is faster than what the rounds had as next"
        );
        assert_eq!(winner(beside), Some(1));
        let at_all =
            known.samples.values().filter_map(|trials| trials.get(&1)).filter_map(|taken| median(taken));
        assert_eq!(at_all.collect::<BTreeSet<_>>(), BTreeSet::from([9100, 9200, 20_000]), "confirmed times");
    }
}
