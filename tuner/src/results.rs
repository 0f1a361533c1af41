//! What a run found: the contents of `results.json`, of reports, and the source of CR status.

mod across;
mod causes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Neighbours};
use crate::kernel::Configuration;
use crate::settings::{MeasureSettings, SearchSettings};
use crate::trial::Outcome;

pub use across::{DISTURBED_PERCENT, Disturbance, Knee, OneForAll, OneForConditions, TimeAt, disturbance};
pub use causes::{Cause, Footprint};

/// Everything a job found. The contents of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobResult {
    /// Version of this format: 1.
    pub version: u32,
    /// Name of the job.
    pub job: String,
    /// Where it was measured.
    pub device: Device,
    /// The job's shares in percent, in the job's order.
    pub shares: Vec<u8>,
    /// How configurations were chosen.
    pub search: SearchSettings,
    /// How times were taken.
    pub measure: MeasureSettings,
    /// One entry per kernel and problem, in the job's order.
    pub tasks: Vec<TaskResult>,
}

/// Where times were taken. Results are only comparable where this is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// `cpu`, `cuda`, or `replay`, which is a simulation.
    pub backend: String,
    /// Product name, such as `AMD EPYC 7763` or `NVIDIA H200`.
    pub product: String,
    /// Compute units: CPUs or SMs.
    pub units: u32,
    /// Compute units behind each share, as read back from the device.
    pub units_by_share: BTreeMap<u8, u32>,
    /// Compiler and its version.
    pub compiler: String,
    /// The GPU, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// What else a reader must know: the driver's version, a sandbox that the system could not give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The GPU that times were taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// As `nvidia-smi -L` writes it.
    pub uuid: String,
    /// Version of the driver.
    pub driver: String,
    /// Whether it was used through MPS.
    pub mps: bool,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// What was found for one kernel and problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// Kernel name.
    pub kernel: String,
    /// Problem name.
    pub problem: String,
    /// How often it runs in one inference.
    pub weight: i64,
    /// Sizes that reach the source as macros; none where they only are arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub size_macros: BTreeMap<String, i64>,
    /// Folder of its trial log, relative to the results file.
    pub folder: String,
    /// Raw combinations of parameter values.
    pub raw: u64,
    /// Combinations that satisfy every constraint; 10,000,001 where there are more than can be listed.
    pub valid: u64,
    /// Trials made.
    pub trials: u32,
    /// Trials by outcome.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The first trial of each kind of failure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<Outcome, FirstFailure>,
    /// Whether outputs were verified.
    pub verified: bool,
    /// Why the search ended.
    pub ended: Ended,
    /// Search time in milliseconds.
    pub search_ms: u64,
    /// Time of the final quiet rounds in milliseconds.
    pub finals_ms: u64,
    /// The default configuration.
    pub default: Configuration,
    /// What the canary said of neighbours that are not ours; none where there is no canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryResult>,
    /// One entry per share, in the job's order; empty where no trial was `Ok`.
    pub shares: Vec<ShareResult>,
    /// One entry per share and load beside it, where the job asks for loads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<LoadedResult>,
}

/// What known kernels, timed alone between batches, said of the device: how much slower, in percent, each was at worst
/// than at its fastest in the run; 0 where that is within the noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryResult {
    /// How often they were timed.
    pub readings: u32,
    /// The kernel that computes.
    pub compute_percent: f64,
    /// The kernel that streams through memory.
    pub memory_percent: f64,
    /// Trials measured while they were slow that were measured again with the finalists.
    pub again: u32,
}

impl CanaryResult {
    /// The greater of the two, in percent.
    #[must_use]
    pub fn worst_percent(&self) -> f64 {
        self.compute_percent.max(self.memory_percent)
    }
}

/// The first trial that failed in some way, and what was said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstFailure {
    /// Number of the trial.
    pub trial: u32,
    /// What went wrong.
    pub message: String,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// `maxTrials` reached.
    MaxTrials,
    /// Every valid configuration was tried.
    SpaceExhausted,
    /// `stopAfterStale` trials without a better one.
    Stale,
    /// The target's times were reached at every share.
    Target,
}

/// The winner at one share, from quiet, interleaved rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareResult {
    /// The share in percent.
    pub share: u8,
    /// The fastest configuration.
    pub best: Timed,
    /// The default configuration, if it is `Ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Timed>,
    /// The share matrix's row of this served share: for every condition, the winner tuned there, timed here.
    pub served: Vec<Served>,
    /// Every finalist of this share, fastest first.
    pub finalists: Vec<Timed>,
    /// The job's metrics of the best, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// What the best asks of a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
}

/// The winner at one share beside a load on the rest of the GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedResult {
    /// What ran beside.
    pub neighbours: Neighbours,
    /// What was found.
    #[serde(flatten)]
    pub result: ShareResult,
    /// How much the load did.
    pub load: Load,
}

impl LoadedResult {
    /// Its share and neighbours.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition { share: self.result.share, neighbours: self.neighbours }
    }
}

/// A load on the rest of the GPU, and how much it did: floating-point operations, or bytes read and written, in a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Its share in percent.
    pub share: u8,
    /// SMs that it had.
    pub units: u32,
    /// Work per second with nothing beside it.
    pub alone_per_second: f64,
    /// Work per second beside what was measured.
    pub beside_per_second: f64,
}

/// A configuration and its time in quiet rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timed {
    /// Number of the trial.
    pub trial: u32,
    /// Its parameter values.
    pub configuration: Configuration,
    /// Median in nanoseconds.
    pub time_ns: u64,
    /// Half the width of the median's 95 % confidence interval, in percent of the median; none where there
    /// are too few samples to tell.
    pub noise_percent: Option<f64>,
    /// Samples behind the median.
    pub samples: u32,
}

/// The winner of one condition, timed under another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// The share, in percent, whose winner it is.
    pub tuned_at: u8,
    /// What ran beside that share when it won.
    #[serde(default, skip_serializing_if = "Neighbours::is_quiet")]
    pub neighbours: Neighbours,
    /// Its median at the served share in nanoseconds; none where it failed there.
    pub time_ns: Option<u64>,
}

impl ShareResult {
    /// Baseline time over best time.
    #[must_use]
    pub fn speedup(&self) -> Option<f64> {
        Some(self.baseline.as_ref()?.time_ns as f64 / self.best.time_ns as f64)
    }

    /// How much slower, as a ratio minus one, this share runs with the quiet winner of another share.
    #[must_use]
    pub fn loss_with_choice_of(&self, tuned_at: u8) -> Option<f64> {
        self.loss_with_choice_under(Condition::quiet(tuned_at))
    }

    /// How much slower, as a ratio minus one, it runs here with the winner of another condition.
    #[must_use]
    pub fn loss_with_choice_under(&self, tuned: Condition) -> Option<f64> {
        let served = self.served_choice(tuned)?;
        Some(served.time_ns? as f64 / self.best.time_ns as f64 - 1.0)
    }

    /// What is known here of the winner of a condition.
    #[must_use]
    pub fn served_choice(&self, tuned: Condition) -> Option<&Served> {
        self.served.iter().find(|s| (s.tuned_at, s.neighbours) == (tuned.share, tuned.neighbours))
    }
}

/// Sums over a job's tasks at one share: weight times time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Total {
    /// The share in percent.
    pub share: u8,
    /// With the default configurations, in nanoseconds.
    pub default_ns: u64,
    /// With each task's winner, in nanoseconds.
    pub best_ns: u64,
    /// Tasks left out because the default or the winner has no time at this share.
    pub left_out: u32,
}

impl JobResult {
    /// Whether every task has a winner at every share.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tasks.iter().all(|task| task.shares.len() == self.shares.len())
    }

    /// The totals by weight at every share: the model's kernel time, default and tuned.
    #[must_use]
    pub fn totals(&self) -> Vec<Total> {
        self.shares
            .iter()
            .map(|&share| {
                let mut total = Total { share, default_ns: 0, best_ns: 0, left_out: 0 };
                for task in &self.tasks {
                    let timed = task.shares.iter().find(|s| s.share == share);
                    let weight = u64::try_from(task.weight).unwrap_or(0);
                    match timed.and_then(|s| Some((s.baseline.as_ref()?, &s.best))) {
                        Some((baseline, best)) => {
                            total.default_ns =
                                total.default_ns.saturating_add(weight.saturating_mul(baseline.time_ns));
                            total.best_ns = total.best_ns.saturating_add(weight.saturating_mul(best.time_ns));
                        }
                        None => total.left_out += 1,
                    }
                }
                total
            })
            .collect()
    }
}
