//! `TuneTask`: one kernel and problem of a job, at all of the job's shares. Made by the operator; its
//! status is written from the pod.

use std::collections::BTreeMap;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::kernel::Configuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::figures::{Footprint, Load};
use crate::job::State;

/// One kernel and problem of a `TuneJob`.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fractune.dev",
    version = "v1alpha1",
    kind = "TuneTask",
    namespaced,
    shortname = "tt",
    category = "fractune",
    status = "TuneTaskStatus",
    derive = "PartialEq",
    doc = "One kernel and problem of a TuneJob, at all of the job's shares. Made by the operator.",
    selectable = ".spec.jobName",
    selectable = ".status.state",
    printcolumn = r#"{"name": "Kernel", "type": "string", "jsonPath": ".spec.kernel"}"#,
    printcolumn = r#"{"name": "Problem", "type": "string", "jsonPath": ".spec.problem"}"#,
    printcolumn = r#"{"name": "Trials", "type": "integer", "jsonPath": ".status.trials.total"}"#,
    printcolumn = r#"{"name": "Of", "type": "integer", "jsonPath": ".spec.maxTrials"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "GPU", "type": "string", "priority": 1, "jsonPath": ".status.gpu.product"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "priority": 1, "jsonPath": ".status.node"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TuneTaskSpec {
    /// Name of the `TuneJob`.
    #[schemars(length(min = 1, max = 63))]
    pub job_name: String,
    /// Name of the kernel.
    #[schemars(length(min = 1, max = 63))]
    pub kernel: String,
    /// Name of the problem.
    #[schemars(length(min = 1, max = 63))]
    pub problem: String,
    /// The job's shares in percent.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 100)))]
    pub shares: Vec<u8>,
    /// Position among the job's tasks, from 0: the completion index of its pod.
    #[schemars(range(min = 0, max = 100_000))]
    pub index: i32,
    /// Trials to make at most: the job's `search.maxTrials`. Raising it makes a finished task go on.
    #[schemars(range(min = 1))]
    pub max_trials: i64,
    /// Digest of everything else that the task's trials depend on: the job's spec and the sources it names.
    #[schemars(length(max = 64))]
    pub digest: String,
}

/// What the pod reports of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TuneTaskStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The one that holds: Complete, Failed, Reconciling or Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// The conditions in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When the first trial began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the task was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Trials by outcome.
    pub trials: TrialCounts,
    /// The fastest configuration of each share so far.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 48))]
    pub best: Vec<BestAtShare>,
    /// What the winners' times at all shares say; none before the quiet rounds, and with one share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub across: Option<AcrossShares>,
    /// Where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Node of the pod that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// Sizes that reach the source as macros; none where they only are arguments.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub size_macros: BTreeMap<String, i64>,
    /// What a reader of the numbers should know, such as a sandbox that the node could not give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub notes: Vec<String>,
    /// Drift of the canary's kernels in percent, such as `4.2`: how much slower than at best they were at worst, because of
    /// neighbours that are not ours, or of clocks that were held down; `0` where that is within the noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub noise: Option<String>,
    /// The compressed trial log in base64, from which the task goes on on any node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 786_432))]
    pub checkpoint: Option<String>,
    /// Trials that the checkpoint holds: no later pod makes them again.
    #[schemars(range(min = 0))]
    pub checkpoint_trials: i64,
    /// Digest of the spec that the checkpoint was made under; it is of no use under another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub checkpoint_digest: Option<String>,
}

/// Trials by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialCounts {
    /// All of them.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Verified and timed.
    #[schemars(range(min = 0))]
    pub ok: i64,
    /// Refused by the compiler.
    #[schemars(range(min = 0))]
    pub compile_error: i64,
    /// Not compiled in time.
    #[schemars(range(min = 0))]
    pub compile_timeout: i64,
    /// In need of more of a resource than the device has.
    #[schemars(range(min = 0))]
    pub resource_exceeded: i64,
    /// Crashed, exited or refused by the device.
    #[schemars(range(min = 0))]
    pub runtime_error: i64,
    /// Not ended in time.
    #[schemars(range(min = 0))]
    pub run_timeout: i64,
    /// With outputs that differ from the reference's.
    #[schemars(range(min = 0))]
    pub wrong_answer: i64,
}

/// The fastest configuration under one condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BestAtShare {
    /// Share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// What ran on the rest of the GPU.
    pub neighbours: Neighbours,
    /// Number of the trial.
    #[schemars(range(min = 0))]
    pub trial: i64,
    /// Its parameter values.
    pub configuration: Configuration,
    /// Its median time in nanoseconds.
    #[schemars(range(min = 0))]
    pub time_ns: i64,
    /// Half the width of the median's 95 % confidence interval in percent, such as `0.8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub noise_percent: Option<String>,
    /// Median time of the default configuration in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub default_ns: Option<i64>,
    /// Median time, at this share, of the largest share's winner in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub full_choice_ns: Option<i64>,
    /// The job's metrics of this configuration, as numbers in strings, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub metrics: BTreeMap<String, String>,
    /// Median time, under this condition, of the same share's quiet winner in nanoseconds; none where it is quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub quiet_choice_ns: Option<i64>,
    /// How much the load beside it did; none where it is quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What its launch asks of the GPU; none for CPUs, and before the quiet rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
    /// Why it beats, here, the choice of the largest share (there: of the smallest), in a sentence; none where both
    /// chose the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 384))]
    pub cause: Option<String>,
    /// Whether the time is from the rounds at the end, with nothing but this condition's load beside, and not from the
    /// search.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
}

/// What times at all shares say of a kernel and problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcrossShares {
    /// The smallest share beyond which more of the GPU buys less than `measure.kneePercent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knee: Option<Knee>,
    /// The one configuration that is least bad at the share where it is worst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_for_all: Option<OneForAll>,
    /// The one configuration that is least bad under the condition where it is worst, loads beside included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_for_conditions: Option<OneForConditions>,
}

/// The smallest share that is nearly as good as the largest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Knee {
    /// Share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// Its winner's time over that at the largest share, such as `1.04`.
    #[schemars(length(max = 32))]
    pub slowdown: String,
}

/// A configuration for every share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneForAll {
    /// Number of the trial.
    #[schemars(range(min = 0))]
    pub trial: i64,
    /// Its parameter values.
    pub configuration: Configuration,
    /// The share in percent where it is worst.
    #[schemars(range(min = 1, max = 100))]
    pub worst_share: u8,
    /// Its time there over that of the share's own winner, such as `1.08`.
    #[schemars(length(max = 32))]
    pub worst_slowdown: String,
}

/// A configuration for every condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneForConditions {
    /// Number of the trial.
    #[schemars(range(min = 0))]
    pub trial: i64,
    /// Its parameter values.
    pub configuration: Configuration,
    /// The share in percent where it is worst.
    #[schemars(range(min = 1, max = 100))]
    pub worst_share: u8,
    /// What runs beside it there.
    pub worst_neighbours: Neighbours,
    /// Its time there over that of the condition's own winner, such as `1.08`.
    #[schemars(length(max = 32))]
    pub worst_slowdown: String,
    /// The geometric mean of that over all conditions: what each condition's own winner is worth.
    #[schemars(length(max = 32))]
    pub mean_slowdown: String,
}

/// Where a task was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Gpu {
    /// Product name.
    #[schemars(length(max = 128))]
    pub product: String,
    /// Version of the driver.
    #[schemars(length(max = 64))]
    pub driver: String,
    /// UUID of the device.
    #[schemars(length(max = 64))]
    pub uuid: String,
    /// Compiler and its version.
    #[schemars(length(max = 128))]
    pub compiler: String,
    /// Whether the pod was a client of MPS.
    pub mps: bool,
    /// SMs (or CPUs) behind each share, as read back from the device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub units: Vec<UnitsAtShare>,
}

/// SMs (or CPUs) behind a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitsAtShare {
    /// Share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// How many SMs (or CPUs) that was.
    #[schemars(range(min = 0))]
    pub units: i32,
}
