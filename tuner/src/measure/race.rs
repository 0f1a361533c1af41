//! The search phase's stopping rule: time is spent on trials that may win.

use super::stats::{Summary, median, run_time_ns};

/// A first run slower than this many times the best ends the trial.
const HOPELESS: f64 = 3.0;
/// A trial whose fastest early run is slower than this many times the best is not sampled further.
const SLOWER: f64 = 1.25;
/// Runs of the first look, and of the second.
const FIRST_LOOK: u32 = 1;
const SECOND_LOOK: u32 = 3;
/// Run time that one step asks for at most, so that control returns often.
const STEP_NS: u64 = 10_000_000;
/// Runs of one step at most: between runs caches are evicted, which sample times do not show.
const STEP_RUNS: u64 = 100;
/// Noise may keep a trial this many times the least measuring time, and no longer.
const PATIENCE: u64 = 10;
/// Below this many samples the median's noise is unknown.
const MIN_SAMPLES: u32 = 6;

/// When a trial of the search has been measured enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RacePolicy {
    /// Measure a promising trial for at least this long, in nanoseconds of run time; for ten times this
    /// at most.
    pub min_time_ns: u64,
    /// Samples at most.
    pub max_samples: u32,
    /// Stop once the median is known to this many percent.
    pub max_noise_percent: f64,
    /// Run time of all samples at most, in nanoseconds.
    pub timeout_ns: u64,
}

/// What to do next in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run this many times and record the samples.
    Run(u32),
    /// Stop.
    Stop(Verdict),
}

/// Why a race stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Measured as well as the policy asks for.
    Measured,
    /// Not better than the best: measured only roughly.
    Slower,
    /// So much slower than the best, from one run, that it may be skipped at other shares.
    Hopeless,
    /// No run ended within the policy's limit.
    TimedOut,
}

/// One trial's measurement at one share: says how many runs to make and when to stop.
///
/// It keeps no clock: run time is the sum of the recorded samples' launches.
#[derive(Clone, Debug)]
pub struct Race {
    policy: RacePolicy,
    best_ns: Option<u64>,
    samples: Vec<u64>,
    /// Of each of the last samples.
    launches: u64,
    total_ns: u64,
    /// An answer without samples came: asking again could go on for ever.
    ended: bool,
}

impl Race {
    /// A race against `best_ns`, the best median so far at this share, if there is one.
    #[must_use]
    pub fn new(policy: RacePolicy, best_ns: Option<u64>) -> Self {
        Self { policy, best_ns, samples: Vec::new(), launches: 1, total_ns: 0, ended: false }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Step {
        let Some(&first) = self.samples.first() else {
            return if self.ended { Step::Stop(Verdict::TimedOut) } else { Step::Run(FIRST_LOOK) };
        };
        let least = self.samples.iter().copied().min().unwrap_or(first);
        if least >= self.policy.timeout_ns {
            return Step::Stop(Verdict::TimedOut);
        }
        if self.taken() == FIRST_LOOK && self.is_slower(first, HOPELESS) {
            return Step::Stop(Verdict::Hopeless);
        }
        if self.taken() < FIRST_LOOK + SECOND_LOOK {
            return self.run_or_stop(SECOND_LOOK);
        }
        if self.is_slower(least, SLOWER) {
            return Step::Stop(Verdict::Slower);
        }
        if self.is_measured() {
            return Step::Stop(Verdict::Measured);
        }
        self.run_or_stop(self.step_runs())
    }

    /// Adds the samples of the last step, in nanoseconds, each the mean of so many `launches`. No samples end the race
    /// with what it has.
    pub fn record(&mut self, samples: &[u64], launches: u32) {
        self.ended = samples.is_empty();
        self.samples.extend_from_slice(samples);
        self.launches = u64::from(launches.max(1));
        self.total_ns = self.total_ns.saturating_add(run_time_ns(samples, launches));
    }

    /// The samples so far, in nanoseconds, in the order in which they were taken.
    #[must_use]
    pub fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// The samples, when the race is over.
    #[must_use]
    pub fn into_samples(self) -> Vec<u64> {
        self.samples
    }

    fn taken(&self) -> u32 {
        self.samples.len() as u32
    }

    fn is_slower(&self, time_ns: u64, times: f64) -> bool {
        self.best_ns.is_some_and(|best| time_ns as f64 > times * best as f64)
    }

    fn is_measured(&self) -> bool {
        let enough = self.total_ns >= self.policy.min_time_ns
            && self.taken() >= MIN_SAMPLES
            && Summary::of(&self.samples).is_some_and(|s| s.noise_percent <= self.policy.max_noise_percent);
        enough || self.total_ns >= self.policy.min_time_ns.saturating_mul(PATIENCE)
    }

    /// Runs that are worth one step, or that bring the total to the least measuring time.
    fn step_runs(&self) -> u32 {
        let typical = self.typical_ns();
        let missing = self.policy.min_time_ns.saturating_sub(self.total_ns).div_ceil(typical);
        let affordable = (STEP_NS / typical).clamp(1, STEP_RUNS);
        let wanted = if missing == 0 { affordable } else { missing.min(affordable) };
        let to_minimum = u64::from(MIN_SAMPLES.saturating_sub(self.taken()));
        wanted.max(to_minimum.min(affordable)) as u32
    }

    /// Run time that another sample probably takes.
    fn typical_ns(&self) -> u64 {
        median(&self.samples).unwrap_or(0).saturating_mul(self.launches).max(1)
    }

    /// Up to `runs` runs, as far as the limits on samples and time allow.
    fn run_or_stop(&self, runs: u32) -> Step {
        let typical = self.typical_ns();
        let by_time = self.policy.timeout_ns.saturating_sub(self.total_ns) / typical;
        let by_count = u64::from(self.policy.max_samples.saturating_sub(self.taken()));
        match u64::from(runs).min(by_time).min(by_count) {
            allowed @ 1.. if !self.ended => Step::Run(allowed as u32),
            _ => Step::Stop(Verdict::Measured),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const POLICY: RacePolicy = RacePolicy {
        min_time_ns: 20 * MS,
        max_samples: 1000,
        max_noise_percent: 1.0,
        timeout_ns: 15_000 * MS,
    };

    /// Races with samples from `time_of(number)`; the verdict, the samples and the longest step.
    fn run(policy: RacePolicy, best: Option<u64>, time_of: impl Fn(u64) -> u64) -> (Verdict, Vec<u64>, u32) {
        let mut race = Race::new(policy, best);
        let mut longest = 0;
        for _ in 0..100_000 {
            match race.next() {
                Step::Stop(verdict) => return (verdict, race.into_samples(), longest),
                Step::Run(runs) => {
                    assert!(runs >= 1);
                    longest = longest.max(runs);
                    let from = race.samples().len() as u64;
                    let samples: Vec<u64> = (from..from + u64::from(runs)).map(&time_of).collect();
                    race.record(&samples, 1);
                }
            }
        }
        panic!("the race never ended");
    }

    #[test]
    fn three_times_the_best_is_hopeless_after_one_run() {
        let (verdict, samples, _) = run(POLICY, Some(MS), |_| 3 * MS + 1);
        assert_eq!((verdict, samples.len()), (Verdict::Hopeless, 1));
    }

    #[test]
    fn a_quarter_over_the_best_stops_after_three_more() {
        let (verdict, samples, _) = run(POLICY, Some(MS), |_| 13 * MS / 10);
        assert_eq!((verdict, samples.len()), (Verdict::Slower, 4));
    }

    #[test]
    fn one_slow_run_does_not_end_a_fast_trial() {
        let (verdict, ..) = run(POLICY, Some(MS), |i| if i == 0 { 29 * MS / 10 } else { MS });
        assert_eq!(verdict, Verdict::Measured);
    }

    #[test]
    fn without_a_best_nothing_is_slower() {
        let (verdict, samples, _) = run(POLICY, None, |_| 5 * MS);
        assert_eq!((verdict, samples.len()), (Verdict::Measured, 6));
    }

    #[test]
    fn a_steady_trial_stops_at_the_least_time() {
        let (verdict, samples, longest) = run(POLICY, Some(MS), |_| MS);
        assert_eq!(verdict, Verdict::Measured);
        assert_eq!(samples.iter().sum::<u64>(), 20 * MS);
        assert!(longest <= 10, "a step of {longest} ms");
    }

    #[test]
    fn noise_is_followed_for_ten_times_the_least_time_and_no_longer() {
        let (verdict, samples, _) = run(POLICY, Some(MS), |i| MS + (i % 7) * MS / 2);
        let total = samples.iter().sum::<u64>();
        assert_eq!(verdict, Verdict::Measured);
        assert!((200 * MS..220 * MS).contains(&total), "{total} ns");
    }

    #[test]
    fn tiny_kernels_stop_at_the_most_samples() {
        let (verdict, samples, longest) = run(POLICY, None, |_| 800);
        assert_eq!((verdict, samples.len()), (Verdict::Measured, 1000));
        assert!(longest <= 100);
    }

    #[test]
    fn a_run_as_long_as_the_limit_is_a_timeout() {
        let (verdict, samples, _) = run(POLICY, None, |_| 15_000 * MS);
        assert_eq!((verdict, samples.len()), (Verdict::TimedOut, 1));
    }

    #[test]
    fn runs_that_would_pass_the_limit_are_not_asked_for() {
        let (verdict, samples, _) = run(POLICY, None, |_| 6_000 * MS);
        assert_eq!((verdict, samples.len()), (Verdict::Measured, 2));
    }

    #[test]
    fn samples_of_many_launches_take_as_much_time_as_the_launches() {
        let samples = |launches: u32| {
            let mut race = Race::new(POLICY, None);
            while let Step::Run(runs) = race.next() {
                race.record(&vec![MS / 10; runs as usize], launches);
            }
            race.samples().len()
        };
        assert_eq!((samples(1), samples(4)), (200, 50), "20 ms of run time in either case");
    }

    #[test]
    fn an_answer_without_samples_ends_the_race() {
        let mut race = Race::new(POLICY, None);
        race.record(&[], 1);
        assert_eq!(race.next(), Step::Stop(Verdict::TimedOut));
        let mut race = Race::new(POLICY, None);
        race.record(&[MS], 1);
        race.record(&[], 1);
        assert_eq!(race.next(), Step::Stop(Verdict::Measured));
    }
}
