//! The quiet rounds at the end: finalists take turns, so that drift hits all alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::stats::{Summary, median, run_time_ns};

/// After this many rounds an entry that cannot win any more is dropped.
const ROUNDS_BEFORE_DROPPING: u32 = 3;
/// An entry is dropped when its median surely exceeds the best median by this ratio.
const DROP_RATIO: f64 = 1.02;

/// How long finals go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalsPolicy {
    /// End once every remaining entry's median is known to this many percent.
    pub max_noise_percent: f64,
    /// Rounds at least, so that one disturbance cannot decide; the budget goes first.
    pub min_rounds: u32,
    /// Rounds at most.
    pub max_rounds: u32,
    /// Run time of all rounds in nanoseconds, warm-up runs counted. No round is begun that would probably
    /// exceed it, but for the first.
    pub budget_ns: u64,
    /// Run time that one turn is worth, in nanoseconds, the warm-up run not counted.
    pub turn_ns: u64,
    /// Runs of one turn at most, the warm-up run not counted.
    pub max_runs_per_turn: u32,
    /// Each turn begins with one run whose sample is discarded.
    pub discard_first: bool,
}

impl FinalsPolicy {
    /// A policy with the noise target (percent) and run time (nanoseconds) given: 5 to 50 rounds of turns
    /// of 10 ms or 30 runs, each after one run to warm up.
    #[must_use]
    pub fn new(max_noise_percent: f64, budget_ns: u64) -> Self {
        Self {
            max_noise_percent,
            min_rounds: 5,
            max_rounds: 50,
            budget_ns,
            turn_ns: 10_000_000,
            max_runs_per_turn: 30,
            discard_first: true,
        }
    }
}

/// One entry's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Number of the trial to run.
    pub trial: u32,
    /// How often, the warm-up run counted.
    pub runs: u32,
}

/// An entry's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Number of the trial.
    pub trial: u32,
    /// Whether it took part to the end. One that was dropped has only early samples, which are not comparable:
    /// it cannot win.
    pub stayed: bool,
    /// Its samples in nanoseconds, warm-up runs left out, in the order in which they were taken.
    pub samples: Vec<u64>,
    /// What they tell.
    pub summary: Summary,
}

/// The schedule of one share's quiet rounds.
///
/// The caller makes the turn that [`Finals::next`] names, tells [`Finals::record`] or [`Finals::fail`], and
/// goes on until there is none.
#[derive(Clone, Debug)]
pub struct Finals {
    policy: FinalsPolicy,
    protected: BTreeSet<u32>,
    /// Entries that still take turns, in the caller's order.
    remaining: Vec<u32>,
    /// Turns left in this round.
    pending: VecDeque<u32>,
    samples: BTreeMap<u32, Vec<u64>>,
    /// Of each of an entry's last samples.
    launches: BTreeMap<u32, u32>,
    rounds: u32,
    spent_ns: u64,
    round_began_at_ns: u64,
}

impl Finals {
    /// Finals between trials, by number. Those `protected`, such as the baseline, are never dropped.
    #[must_use]
    pub fn new(entries: Vec<u32>, protected: &[u32], policy: FinalsPolicy) -> Self {
        let mut remaining = Vec::new();
        for entry in entries {
            if !remaining.contains(&entry) {
                remaining.push(entry);
            }
        }
        Self {
            policy,
            protected: protected.iter().copied().collect(),
            pending: remaining.iter().copied().collect(),
            remaining,
            samples: BTreeMap::new(),
            launches: BTreeMap::new(),
            rounds: 0,
            spent_ns: 0,
            round_began_at_ns: 0,
        }
    }

    /// The next turn; none when the finals are over.
    #[must_use]
    pub fn next(&self) -> Option<Turn> {
        let trial = *self.pending.front()?;
        let typical = self.samples.get(&trial).and_then(|samples| median(samples));
        let launches = self.launches.get(&trial).copied().unwrap_or(1);
        let runs = typical.map_or(1, |ns| {
            let most = u64::from(self.policy.max_runs_per_turn.max(1));
            let run_ns = ns.saturating_mul(u64::from(launches)).max(1);
            (self.policy.turn_ns / run_ns).clamp(1, most) as u32
        });
        Some(Turn { trial, runs: runs + u32::from(self.policy.discard_first) })
    }

    /// Rounds that are over.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Records the samples of a turn, in nanoseconds, the warm-up run's first, each the mean of so many `launches`. None
    /// at all is a failure.
    pub fn record(&mut self, trial: u32, samples: &[u64], launches: u32) {
        self.spent_ns = self.spent_ns.saturating_add(run_time_ns(samples, launches));
        self.launches.insert(trial, launches.max(1));
        let kept = match samples {
            [_, rest @ ..] if self.policy.discard_first => rest,
            all => all,
        };
        if kept.is_empty() {
            self.fail(trial);
            return;
        }
        self.samples.entry(trial).or_default().extend_from_slice(kept);
        self.end_turn(trial);
    }

    /// Takes an entry out of the finals, its samples included: what fails cannot win.
    pub fn fail(&mut self, trial: u32) {
        self.remaining.retain(|&t| t != trial);
        self.samples.remove(&trial);
        self.end_turn(trial);
    }

    /// Every entry that did not fail: those that stayed to the end first, each part fastest first.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let mut standings: Vec<Standing> = self
            .samples
            .iter()
            .filter_map(|(&trial, samples)| {
                let summary = Summary::of(samples)?;
                let stayed = self.remaining.contains(&trial);
                Some(Standing { trial, stayed, samples: samples.clone(), summary })
            })
            .collect();
        standings.sort_by_key(|s| (!s.stayed, s.summary.median_ns, s.trial));
        standings
    }

    fn end_turn(&mut self, trial: u32) {
        self.pending.retain(|&t| t != trial);
        if self.pending.is_empty() {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        self.rounds += 1;
        let round_ns = self.spent_ns - self.round_began_at_ns;
        self.round_began_at_ns = self.spent_ns;
        if self.rounds >= ROUNDS_BEFORE_DROPPING {
            self.drop_losers();
        }
        let affordable = self.spent_ns.saturating_add(round_ns) <= self.policy.budget_ns;
        let settled = self.rounds >= self.policy.min_rounds && self.is_settled();
        if affordable && !settled && self.rounds < self.policy.max_rounds {
            self.pending = self.order();
        }
    }

    fn drop_losers(&mut self) {
        let summaries: BTreeMap<u32, Summary> = self
            .remaining
            .iter()
            .filter_map(|&trial| Some((trial, Summary::of(self.samples.get(&trial)?)?)))
            .collect();
        let Some(best) = summaries.values().map(|s| s.median_ns).min() else { return };
        let protected = &self.protected;
        self.remaining.retain(|trial| {
            let loses = summaries.get(trial).is_some_and(|s| s.lower_ns as f64 > best as f64 * DROP_RATIO);
            protected.contains(trial) || !loses
        });
    }

    fn is_settled(&self) -> bool {
        self.remaining.iter().all(|trial| {
            let summary = self.samples.get(trial).and_then(|samples| Summary::of(samples));
            summary.is_some_and(|s| s.noise_percent <= self.policy.max_noise_percent)
        })
    }

    /// Another order in every round, so that no entry always runs behind the same one.
    fn order(&self) -> VecDeque<u32> {
        let mut order: VecDeque<u32> = self.remaining.iter().copied().collect();
        if !order.is_empty() {
            order.rotate_left(self.rounds as usize % order.len());
        }
        if self.rounds % 2 == 1 {
            order.make_contiguous().reverse();
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn policy() -> FinalsPolicy {
        FinalsPolicy::new(1.0, 10_000 * MS)
    }

    /// Plays finals with times by trial and number of the turn; the trials in the order of their turns.
    fn play(finals: &mut Finals, time_of: impl Fn(u32, usize) -> u64) -> Vec<u32> {
        let mut turns = Vec::new();
        while let Some(turn) = finals.next() {
            let time = time_of(turn.trial, turns.len());
            finals.record(turn.trial, &vec![time; turn.runs as usize], 1);
            turns.push(turn.trial);
            assert!(turns.len() < 100_000, "the finals never end");
        }
        turns
    }

    #[test]
    fn an_entry_that_was_dropped_cannot_win_by_its_early_samples() {
        let mut finals = Finals::new(vec![1, 2], &[], FinalsPolicy { min_rounds: 20, ..policy() });
        // Trial 2 loses the first rounds; then the device slows down, and trial 1 with it.
        play(&mut finals, |trial, turn| match (trial, turn) {
            (1, turn) if turn < 6 => MS,
            (1, _) => 2 * MS,
            _ => MS * 11 / 10,
        });
        let standings = finals.standings();
        assert_eq!(
            standings.iter().map(|s| (s.trial, s.stayed)).collect::<Vec<_>>(),
            [(1, true), (2, false)]
        );
        assert!(standings[0].summary.median_ns > standings[1].summary.median_ns, "as meant");
    }

    #[test]
    fn every_entry_has_one_turn_in_every_round_in_changing_order() {
        let mut finals = Finals::new(vec![7, 8, 9], &[], policy());
        let turns = play(&mut finals, |_, _| MS);
        let rounds: Vec<&[u32]> = turns.chunks(3).collect();
        assert_eq!(rounds.len(), 5);
        for round in &rounds {
            assert_eq!(round.iter().copied().collect::<BTreeSet<u32>>(), BTreeSet::from([7, 8, 9]));
        }
        let firsts: BTreeSet<u32> = rounds.iter().map(|round| round[0]).collect();
        assert_eq!(firsts.len(), 3, "{turns:?}");
        assert_ne!(rounds[0], rounds[1]);
    }

    #[test]
    fn drift_does_not_change_who_wins() {
        let mut finals = Finals::new(vec![1, 2], &[], FinalsPolicy { max_noise_percent: 0.0, ..policy() });
        // Everything gets 1 % slower with every turn; 2 is 1 % faster than 1.
        let turns = play(&mut finals, |trial, turn| {
            let base = if trial == 2 { 990_000 } else { 1_000_000 };
            base + base * turn as u64 / 100
        });
        assert!(turns.len() > 20);
        assert_eq!(finals.standings()[0].trial, 2);
    }

    #[test]
    fn a_clear_loser_is_dropped_after_three_rounds_and_the_baseline_stays() {
        let mut finals = Finals::new(vec![0, 1, 2], &[0], policy());
        let turns = play(&mut finals, |trial, _| [2 * MS, MS, 11 * MS / 10][trial as usize]);
        let count = |trial: u32| turns.iter().filter(|&&t| t == trial).count();
        assert_eq!((count(0), count(1), count(2)), (5, 5, 3));
        let standings = finals.standings();
        assert_eq!(standings.iter().map(|s| s.trial).collect::<Vec<_>>(), [1, 0, 2]);
    }

    #[test]
    fn what_fails_is_out_and_has_no_standing() {
        let mut finals = Finals::new(vec![1, 2, 3], &[2], policy());
        let first = finals.next().unwrap();
        finals.record(first.trial, &[MS, MS], 1);
        finals.fail(2);
        finals.record(3, &[], 1);
        play(&mut finals, |_, _| MS);
        assert_eq!(finals.standings().iter().map(|s| s.trial).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn all_failed_ends_at_once() {
        let mut finals = Finals::new(vec![1, 2], &[1], policy());
        finals.fail(1);
        finals.fail(2);
        assert_eq!(finals.next(), None);
        assert!(finals.standings().is_empty());
        assert_eq!(Finals::new(vec![], &[], policy()).next(), None);
    }

    #[test]
    fn the_first_sample_of_a_turn_is_discarded() {
        let mut finals = Finals::new(vec![4], &[], policy());
        assert_eq!(finals.next(), Some(Turn { trial: 4, runs: 2 }));
        finals.record(4, &[9 * MS, MS], 1);
        assert_eq!(finals.standings()[0].samples, [MS]);
        assert_eq!(finals.next(), Some(Turn { trial: 4, runs: 11 }));
        finals.record(4, &[MS, MS], 5);
        assert_eq!(finals.next(), Some(Turn { trial: 4, runs: 3 }), "10 ms, at 5 ms a run");
    }

    #[test]
    fn noise_goes_on_until_the_budget_and_no_round_is_left_half() {
        let budget = 400 * MS;
        let mut finals = Finals::new(vec![1, 2], &[], FinalsPolicy { budget_ns: budget, ..policy() });
        let turns = play(&mut finals, |_, turn| MS + MS * (turn as u64 / 2 % 2));
        let rounds = turns.len() / 2;
        assert_eq!(turns.len() % 2, 0);
        assert!(rounds > 5);
        // The last round was as long as the one before, or twice that.
        let most = budget + 22 * MS;
        assert!((budget - 44 * MS..most).contains(&finals.spent_ns), "{} ns", finals.spent_ns);
    }

    #[test]
    fn without_budget_there_is_still_one_round() {
        let mut finals = Finals::new(vec![1, 2], &[], FinalsPolicy { budget_ns: 0, ..policy() });
        assert_eq!(play(&mut finals, |_, _| MS), [1, 2]);
    }
}
