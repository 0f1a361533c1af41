//! How a job searches and measures: the `search` and `measure` sections of a `TuneJob`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How configurations are chosen, and when that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchSettings {
    /// How configurations are chosen.
    pub strategy: Strategy,
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
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self { strategy: Strategy::Auto, max_trials: 200, seed: 1, stop_after_stale: None }
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
    /// How many of each share's best trials are measured again, quietly, at the end.
    #[schemars(range(min = 1, max = 100))]
    pub finalists: u32,
}

impl Default for MeasureSettings {
    fn default() -> Self {
        Self {
            min_time_ms: 20,
            max_noise_percent: 1,
            timeout_seconds: 15,
            cache: CacheState::Cold,
            finalists: 10,
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
