//! Confirming a task's winners: their times are taken anew, in several places of the device's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use fractune_tuner::condition::Condition;
use fractune_tuner::measure::{FinalSamples, median};

use super::TaskRun;
use super::finals::Known;
use super::plan::RunError;
use super::rounds::{brief, rounds};
use super::session::Runner;

/// Places in the GPU's memory where a share's winner is measured: at least, and at most while they disagree.
const CONFIRMATIONS: RangeInclusive<usize> = 4..=8;
/// In the first of them the default and the other shares' winners are measured, too, and go on unless they are slower: what
/// is said of those that are is less at stake.
const WITH_GUESTS: usize = 2;

/// Measures the winners and the default once more, at every share and in several places of the GPU's memory: what a worker got
/// by chance is worth a few percent. Their times are these alone, and a share's winner is the fastest by them. A winner that
/// fails now makes room for the next, which may be one that the rounds dropped for being slower than this one.
pub(super) async fn confirm(
    run: &TaskRun<'_>,
    runners: &mut [Runner<'_>],
    known: &mut Known,
) -> Result<(), RunError> {
    'winners: loop {
        replace(run, runners, known).await?;
        known.judge();
        let mut confirmed = FinalSamples::new();
        let mut fastest = BTreeMap::new();
        for runner in &mut *runners {
            let here = Condition::quiet(runner.share);
            let (taken, first) = in_places(run, runner, known).await?;
            fastest.extend(first.map(|first| (here, first)));
            // Each time there is one winner less that may fail.
            let failed = known.winners.get(&here).is_some_and(|winner| !taken.contains_key(winner));
            let is_condemned = |winner| known.seen.condemned.contains(winner);
            if failed || known.winners.values().chain(fastest.values()).any(is_condemned) {
                continue 'winners;
            }
            confirmed.insert(here, taken);
        }
        for (condition, taken) in confirmed {
            known.samples.entry(condition).or_default().extend(taken);
        }
        known.take_out();
        known.winners = fastest;
        return Ok(());
    }
}

/// Has the finalists that are left take turns anew at each share whose winner has failed since.
async fn replace(run: &TaskRun<'_>, runners: &mut [Runner<'_>], known: &mut Known) -> Result<(), RunError> {
    known.take_out();
    let Known { finalists, prepared, samples, winners, seen, .. } = known;
    for runner in &mut *runners {
        let here = Condition::quiet(runner.share);
        let samples = samples.entry(here).or_default();
        let stands = |winner| samples.get(winner).is_some_and(|taken| !taken.is_empty());
        if winners.get(&here).is_none_or(stands) {
            continue;
        }
        let has_failed = |trial: &u32| samples.get(trial).is_some_and(Vec::is_empty);
        let finalists = finalists.get(&here).into_iter().flatten().copied();
        let left: BTreeSet<u32> = finalists.filter(|trial| !has_failed(trial)).collect();
        samples.retain(|trial, _| !left.contains(trial));
        samples.extend(rounds(run, runner, prepared, left, Vec::new(), seen).await?);
    }
    Ok(())
}

/// Times of the winners and the default at one share, in one place of its worker's memory after the other: in further ones
/// while the medians of this share's winner lie further apart than half of the noise that the job allows. Also the fastest of
/// those that were measured in all places. What fails is known to have failed here.
async fn in_places(
    run: &TaskRun<'_>,
    runner: &mut Runner<'_>,
    known: &mut Known,
) -> Result<(BTreeMap<u32, Vec<u64>>, Option<u32>), RunError> {
    let Known { prepared, winners, default, seen, samples, .. } = known;
    let here = Condition::quiet(runner.share);
    let winner = winners.get(&here);
    let mut asked: BTreeSet<u32> = winners.values().copied().chain([*default]).collect();
    asked.retain(|entry| prepared.iter().any(|prepared| prepared.trial == *entry));
    let mut taken: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut medians = Vec::new();
    let time =
        |taken: &BTreeMap<u32, Vec<u64>>, entry: &u32| taken.get(entry).and_then(|samples| median(samples));
    for number in 1..=*CONFIRMATIONS.end() {
        let is_enough =
            number > *CONFIRMATIONS.start() && agree(&medians, run.plan.measure.max_noise_percent);
        if asked.is_empty() || is_enough {
            break;
        }
        // All are verified in the first place.
        runner.trust(number > 1);
        let mut new = brief(run, runner, prepared, asked.iter().copied().collect(), seen).await?;
        medians.extend(winner.and_then(|winner| time(&new, winner)));
        for failed in asked.extract_if(.., |entry| !new.contains_key(entry)) {
            taken.remove(&failed);
            samples.entry(here).or_default().insert(failed, Vec::new());
        }
        for &entry in &asked {
            taken.entry(entry).or_default().extend(new.remove(&entry).unwrap_or_default());
        }
        if winner.is_some_and(|winner| !asked.contains(winner)) {
            break;
        }
        if number == WITH_GUESTS
            && let Some(best) = winner.and_then(|winner| time(&taken, winner))
        {
            asked.retain(|entry| time(&taken, entry).is_some_and(|time| time <= best));
        }
    }
    runner.trust(false);
    let first = asked.into_iter().min_by_key(|entry| time(&taken, entry));
    Ok((taken, first))
}

/// Whether the times lie as close together as three do by chance alone only seldom: within half of `percent`.
fn agree(times_ns: &[u64], percent: u32) -> bool {
    match (times_ns.iter().min(), times_ns.iter().max()) {
        (Some(least), Some(most)) => (most - least) * 200 <= least * u64::from(percent),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, Later};
    use super::*;

    /// What is known after the rounds of [`fixture::recorded`] and a confirmation with these outcomes.
    fn confirmed(later: Later) -> Known {
        fixture::recorded(later, async |run, runners, known| confirm(run, runners, known).await.unwrap())
    }

    fn winners(known: &Known) -> [Option<u32>; 2] {
        [100, 50].map(|share| known.winners.get(&Condition::quiet(share)).copied())
    }

    fn time(known: &Known, share: u8, trial: u32) -> Option<u64> {
        known.samples.get(&Condition::quiet(share))?.get(&trial).and_then(|samples| median(samples))
    }

    #[test]
    fn what_was_confirmed_is_what_counts() {
        let known = confirmed([[Ok(9900), Ok(7000)], [Ok(1), Ok(1)], [Ok(8100), Ok(8200)]]);
        assert_eq!(winners(&known), [Some(2), Some(0)], "the default may be the fastest, after all");
        assert_eq!((time(&known, 100, 2), time(&known, 50, 0)), (Some(8100), Some(7000)));
        assert_eq!(time(&known, 100, 1), Some(9000), "no winner, and not confirmed");
    }

    #[test]
    fn a_winner_that_fails_makes_room_for_the_next_at_its_share() {
        let known = confirmed([[Ok(9900), Ok(9900)], [Ok(9100), Ok(9100)], [Err("RuntimeError"), Ok(8000)]]);
        assert_eq!(winners(&known), [Some(1), Some(2)]);
        assert_eq!((time(&known, 100, 2), time(&known, 50, 2)), (None, Some(8000)));
    }

    #[test]
    fn what_the_rounds_dropped_is_next_when_what_dropped_it_fails() {
        let later = [[Ok(9900), Ok(9900)], [Ok(9100), Ok(9100)], [Err("RunTimeout"), Err("WrongAnswer")]];
        let known = fixture::recorded(later, async |run, runners, known| {
            for (condition, trials) in &mut known.samples {
                trials.retain(|&trial, _| trial == 2);
                known.finalists.insert(*condition, vec![2, 1]);
            }
            confirm(run, runners, known).await.unwrap();
        });
        assert_eq!(winners(&known), [Some(1), Some(1)]);
        assert_eq!([100, 50].map(|share| time(&known, share, 0)), [Some(9900); 2], "the default, beside it");
    }

    #[test]
    fn a_wrong_answer_at_one_share_condemns_a_trial_everywhere() {
        let known =
            confirmed([[Ok(9900), Err("WrongAnswer")], [Ok(9100), Ok(9200)], [Ok(8000), Err("WrongAnswer")]]);
        assert_eq!(winners(&known), [Some(1), Some(1)]);
        for trial in [0, 2] {
            assert_eq!((time(&known, 100, trial), time(&known, 50, trial)), (None, None));
        }
    }

    #[test]
    fn a_share_where_everything_fails_has_no_winner() {
        let known = confirmed([
            [Ok(9900), Err("RunTimeout")],
            [Ok(1), Err("RunTimeout")],
            [Ok(8000), Err("RunTimeout")],
        ]);
        assert_eq!(winners(&known), [Some(2), None]);
    }

    #[test]
    fn places_agree_within_half_of_the_noise_that_is_allowed() {
        assert!(agree(&[1000, 1005, 1002], 1));
        assert!(!agree(&[1000, 1006], 1));
        assert!(agree(&[], 1), "a winner that failed everywhere needs no further place");
    }
}
