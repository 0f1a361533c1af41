//! How a job searches and measures: the `search` and `measure` sections of a `TuneJob`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Violation;
use crate::kernel::Configuration;

/// How configurations are chosen, and when that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchSettings {
    /// How configurations are chosen.
    pub strategy: Strategy,
    /// Options of the strategy; each has its default unless set.
    #[serde(skip_serializing_if = "StrategyOptions::is_default")]
    pub options: StrategyOptions,
    /// Trials of each task at most, failed ones counted.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_trials: u32,
    /// Seed of every random choice and of the buffers' contents.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Stop after this many trials in a row that bettered no share's best; never unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub stop_after_stale: Option<u32>,
    /// Stop once a time is reached; never unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Configurations that were good elsewhere (at another share, on another device, in an earlier run).
    /// They are tried first, right after the default, and measured like all others. One that a kernel
    /// does not have, or that its constraints refuse, is skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub start: Vec<Configuration>,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Auto,
            options: StrategyOptions::default(),
            max_trials: 200,
            seed: 1,
            stop_after_stale: None,
            target: None,
            start: Vec::new(),
        }
    }
}

/// A time at which a search may stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The times in nanoseconds: one for every share, or one for each share in the job's order.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1)))]
    pub times_ns: Vec<i64>,
    /// A time that is longer by no more than this many percent is good enough.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub within_percent: u32,
}

impl Target {
    /// Whether the best times of all shares, in the job's order, are good enough.
    #[must_use]
    pub fn is_reached(&self, best_ns: &[Option<u64>]) -> bool {
        let wanted = |share: usize| self.times_ns.get(share).or(self.times_ns.first());
        !best_ns.is_empty()
            && best_ns.iter().enumerate().all(|(share, best)| {
                best.zip(wanted(share)).is_some_and(|(best, &wanted)| {
                    let enough = u128::from(wanted.unsigned_abs()) * (100 + u128::from(self.within_percent));
                    u128::from(best) * 100 <= enough
                })
            })
    }
}

/// How configurations are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// What finds good configurations soonest at the given budget.
    #[default]
    Auto,
    /// Every valid configuration, in order.
    Exhaustive,
    /// Uniform random, without repetition.
    Random,
    /// A walk from neighbour to neighbour that takes worse steps less and less often. Options:
    /// startPercent, endPercent, coolingTrials.
    SimulatedAnnealing,
    /// The best so far have children that mix their parameters. Options: population, mutationPercent.
    Genetic,
    /// To the best neighbour until there is none, then a kick. Options: samples, kick.
    LocalSearch,
}

impl Strategy {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Auto,
        Self::Exhaustive,
        Self::Random,
        Self::SimulatedAnnealing,
        Self::Genetic,
        Self::LocalSearch,
    ];

    /// Its name in a job.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Exhaustive => "Exhaustive",
            Self::Random => "Random",
            Self::SimulatedAnnealing => "SimulatedAnnealing",
            Self::Genetic => "Genetic",
            Self::LocalSearch => "LocalSearch",
        }
    }
}

/// Options of the strategies; a strategy refuses those of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StrategyOptions {
    /// `SimulatedAnnealing`: at the start, a step that is this many percent slower is taken with a chance
    /// of 37 % [default: 50].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub start_percent: Option<u32>,
    /// `SimulatedAnnealing`: the same at the end [default: 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub end_percent: Option<u32>,
    /// `SimulatedAnnealing`: trials from start to end [default: 200].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub cooling_trials: Option<u32>,
    /// `Genetic`: how many of the best have children; as many random ones begin [default: 20].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10_000))]
    pub population: Option<u32>,
    /// `Genetic`: chance of each parameter of a child to be changed at random [default: 10].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub mutation_percent: Option<u32>,
    /// `LocalSearch`: random configurations before it begins at the best of them [default: 10].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub samples: Option<u32>,
    /// `LocalSearch`: parameters that a kick changes [default: 3].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub kick: Option<u32>,
}

impl StrategyOptions {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What the options are called.
    #[must_use]
    pub fn names() -> [&'static str; 7] {
        Self::default().entries().map(|(_, name, _)| name)
    }

    /// Every option: whose it is, its name and its value.
    fn entries(&self) -> [(Strategy, &'static str, &Option<u32>); 7] {
        let Self { start_percent, end_percent, cooling_trials, population, mutation_percent, samples, kick } =
            self;
        [
            (Strategy::SimulatedAnnealing, "startPercent", start_percent),
            (Strategy::SimulatedAnnealing, "endPercent", end_percent),
            (Strategy::SimulatedAnnealing, "coolingTrials", cooling_trials),
            (Strategy::Genetic, "population", population),
            (Strategy::Genetic, "mutationPercent", mutation_percent),
            (Strategy::LocalSearch, "samples", samples),
            (Strategy::LocalSearch, "kick", kick),
        ]
    }

    pub(crate) fn start_percent(&self) -> u32 {
        self.start_percent.unwrap_or(50).max(1)
    }

    pub(crate) fn end_percent(&self) -> u32 {
        self.end_percent.unwrap_or(1).max(1)
    }

    pub(crate) fn cooling_trials(&self) -> u32 {
        self.cooling_trials.unwrap_or(200).max(1)
    }

    pub(crate) fn population(&self) -> u32 {
        self.population.unwrap_or(20).max(2)
    }

    pub(crate) fn mutation_percent(&self) -> u32 {
        self.mutation_percent.unwrap_or(10).min(100)
    }

    pub(crate) fn samples(&self) -> u32 {
        self.samples.unwrap_or(10).max(1)
    }

    pub(crate) fn kick(&self) -> u32 {
        self.kick.unwrap_or(3).max(1)
    }
}

impl SearchSettings {
    /// What the schema's bounds do not see: options that the strategy does not have, and a target that
    /// does not fit the number of shares. `path` is where the settings stand, such as `spec.search`.
    #[must_use]
    pub fn problems(&self, path: &str, shares: usize) -> Vec<Violation> {
        let mut found = self.foreign_options(path);
        if let Some(target) = &self.target {
            let count = target.times_ns.len();
            if count != 1 && count != shares {
                let message = format!(
                    "has {count} times for {shares} shares; write one for all, or one for each share in order"
                );
                found.push(Violation::new(format!("{path}.target.timesNs"), "", message));
            }
        }
        found
    }

    fn foreign_options(&self, path: &str) -> Vec<Violation> {
        let options = self.options.entries();
        let own: Vec<&str> =
            options.iter().filter(|option| option.0 == self.strategy).map(|option| option.1).collect();
        let ways = if own.is_empty() {
            "it has no options; remove it".to_owned()
        } else {
            format!("its options are {}; remove this one", own.join(", "))
        };
        options
            .iter()
            .filter(|(strategy, ..)| *strategy != self.strategy)
            .filter_map(|(strategy, name, value)| {
                let message = format!("{:?} has no such option, {strategy:?} has; {ways}", self.strategy);
                Some(Violation::new(format!("{path}.options.{name}"), value.as_ref()?, message))
            })
            .collect()
    }
}

/// How times are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeasureSettings {
    /// Measure a promising trial for at least this long at each share, in milliseconds.
    #[schemars(range(min = 1, max = 60_000))]
    pub min_time_ms: u32,
    /// Stop sampling once the median is known to this many percent (95 % confidence).
    #[schemars(range(min = 1, max = 100))]
    pub max_noise_percent: u32,
    /// A trial that has not ended after this many seconds at one share is a `RunTimeout`; the limit of
    /// one compilation as well, at least 60.
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: u32,
    /// State of the caches when a timed run starts.
    pub cache: CacheState,
    /// Whether trials of a search are measured beside others on the GPU: always as far as their shares fit (`Shared`),
    /// never (`Exclusive`), or only while measurements would otherwise wait for the GPU much of the time (`Auto`; on
    /// CPUs as `Shared`). What is reported is measured again at the end, in any case with no other trial beside it.
    pub sharing: Sharing,
    /// How many of each share's best trials are measured again, quietly, at the end.
    #[schemars(range(min = 1, max = 100))]
    pub finalists: u32,
    /// More of the GPU that buys less than this many percent is not worth having: where the report puts the knee.
    #[schemars(range(min = 1, max = 1000))]
    pub knee_percent: u32,
}

impl Default for MeasureSettings {
    fn default() -> Self {
        Self {
            min_time_ms: 20,
            max_noise_percent: 1,
            timeout_seconds: 15,
            cache: CacheState::Cold,
            sharing: Sharing::Auto,
            finalists: 10,
            knee_percent: 5,
        }
    }
}

/// State of the caches when a timed run starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CacheState {
    /// Buffers are evicted before every run: what a kernel sees between other kernels.
    #[default]
    Cold,
    /// Buffers stay where the last run left them.
    Hot,
}

/// Whether trials of a search are measured beside others on the device, or alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Sharing {
    /// On a GPU alone, unless measurements have to wait for it much of the time: then as `Shared`, until
    /// there is room again. On CPUs as `Shared`, since there waits are for compilers as well.
    #[default]
    Auto,
    /// Each beside others, as far as their shares fit: the fastest search, and noisier times.
    Shared,
    /// Each alone: the quietest times. On CPUs nothing is compiled meanwhile, either.
    Exclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_another_strategy_is_refused_with_those_that_there_are() {
        let options = StrategyOptions { kick: Some(2), ..StrategyOptions::default() };
        let settings = SearchSettings { strategy: Strategy::Genetic, options, ..SearchSettings::default() };
        let found = settings.problems("spec.search", 1);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.search.options.kick: \"2\": Genetic has no such option, LocalSearch has; its options are \
              population, mutationPercent; remove this one"
            ]
        );
        let settings = SearchSettings { strategy: Strategy::LocalSearch, ..settings };
        assert!(settings.problems("spec.search", 1).is_empty());
    }

    #[test]
    fn a_target_is_reached_when_every_share_is_within_it() {
        let target = Target { times_ns: vec![100, 200], within_percent: 10 };
        assert!(target.is_reached(&[Some(110), Some(220)]));
        assert!(!target.is_reached(&[Some(111), Some(200)]));
        assert!(!target.is_reached(&[Some(90), None]));
        let one = Target { times_ns: vec![100], within_percent: 0 };
        assert!(one.is_reached(&[Some(100), Some(99)]) && !one.is_reached(&[Some(100), Some(101)]));
        let settings = SearchSettings { target: Some(target), ..SearchSettings::default() };
        assert!(settings.problems("spec.search", 2).is_empty());
        assert!(settings.problems("spec.search", 3)[0].message.contains("2 times for 3 shares"));
    }
}
