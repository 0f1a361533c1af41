//! `TuneJob`: what users write, and what the operator reports.

use std::collections::BTreeMap;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::kernel::{Configuration, Kernel};
use fractune_tuner::settings::{MeasureSettings, SearchSettings};
use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::{Knee, OneForAll, OneForConditions};

/// Kernels to tune, and the GPU shares they will be served at.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fractune.dev",
    version = "v1alpha1",
    kind = "TuneJob",
    namespaced,
    shortname = "tj",
    category = "fractune",
    status = "TuneJobStatus",
    derive = "PartialEq",
    doc = "Kernels to tune, and the GPU shares they will be served at.",
    selectable = ".status.state",
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "Tasks", "type": "string", "jsonPath": ".status.tasks.summary"}"#,
    printcolumn = r#"{"name": "Trials", "type": "integer", "jsonPath": ".status.trials"}"#,
    printcolumn = r#"{"name": "Speedup", "type": "string", "jsonPath": ".status.speedup"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TuneJobSpec {
    /// Shares of a GPU's SMs (or of the CPUs), in percent, to tune for.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 100)))]
    pub shares: Vec<u8>,
    /// What runs on the rest of the GPU when the kernels are served; each has its own winners.
    #[serde(default = "quiet")]
    #[schemars(length(min = 1, max = 3))]
    pub neighbours: Vec<Neighbours>,
    /// The kernels to tune.
    #[schemars(length(min = 1, max = 32))]
    pub kernels: Vec<Kernel>,
    /// How configurations are chosen, and when that ends.
    #[serde(default)]
    pub search: SearchSettings,
    /// How times are taken.
    #[serde(default)]
    pub measure: MeasureSettings,
    /// How many tasks are tuned at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub parallelism: u32,
    /// Stop all pods and keep what was found; setting it back goes on from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// End the job as failed after this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Call the job stalled after its pods could not be scheduled for this many seconds: because nobody offers
    /// the share, for example. It goes on by itself as soon as somebody does.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1))]
    pub start_deadline_seconds: i64,
    /// How often one task's pod may fail before the task does; 3 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub backoff_limit: Option<i32>,
    /// Delete the tasks and pods this many seconds after the job's end, never unless set. The `TuneJob`, its
    /// results and the `ConfigMap` stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Name of the controller that reconciles this job, if it is not fractune's operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub managed_by: Option<String>,
    /// What users may set of the tuning pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplate>,
}

fn quiet() -> Vec<Neighbours> {
    vec![Neighbours::Quiet]
}

fn one() -> u32 {
    1
}

fn five_minutes() -> i64 {
    300
}

/// What users may set of the tuning pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// CPUs and memory of the tuning container; the GPU slot is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Where the pods share compiled kernels, instead of each compiling its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<KernelCache>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// Further labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Further annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// Where pods share compiled kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelCache {
    /// Name of a claim in the job's namespace, whose volume keeps them in its folder `fractune-cache`. Whoever can write
    /// that folder decides what the pods run.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub persistent_volume_claim: String,
}

/// What the operator reports of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TuneJobStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Complete, Failed, Suspended, Reconciling and Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// The conditions in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When the job's first task was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Tasks by state.
    pub tasks: TaskCounts,
    /// Trials made by all tasks.
    #[schemars(range(min = 0))]
    pub trials: i64,
    /// Default over tuned total time at the job's first share, such as `1.52x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub speedup: Option<String>,
    /// The winners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048))]
    pub results: Vec<TunedResult>,
    /// What the winners' times at all shares say, for each kernel and problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048))]
    pub across: Vec<AcrossSharesOf>,
    /// The sum over all tasks of weight times time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 48))]
    pub totals: Vec<JobTotal>,
    /// The `search.maxTrials` that the job's end speaks of; none before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_trials: Option<i64>,
    /// Digest of the spec and the sources that the tasks were made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
}

/// The conditions of a job or task in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Nothing runs yet.
    Pending,
    /// At least one trial is under way.
    Running,
    /// Suspended by the user or a queue.
    Suspended,
    /// It cannot go on until somebody changes something; the condition says what.
    Stalled,
    /// Done.
    Complete,
    /// Given up.
    Failed,
}

/// Tasks by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskCounts {
    /// All of them: one per kernel and problem.
    #[schemars(range(min = 0))]
    pub total: i32,
    /// Those that have a running pod.
    #[schemars(range(min = 0))]
    pub active: i32,
    /// Those that are done.
    #[schemars(range(min = 0))]
    pub succeeded: i32,
    /// Those that were given up.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// Succeeded of total, such as `3/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub summary: Option<String>,
}

/// The winner of one kernel and problem under one condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunedResult {
    /// Kernel name.
    #[schemars(length(min = 1, max = 63))]
    pub kernel: String,
    /// Problem name.
    #[schemars(length(min = 1, max = 63))]
    pub problem: String,
    /// Share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// What ran on the rest of the GPU.
    pub neighbours: Neighbours,
    /// Parameter values of the winner.
    pub configuration: Configuration,
    /// Its median time in nanoseconds.
    #[schemars(range(min = 0))]
    pub time_ns: i64,
    /// Half the width of the median's 95 % confidence interval in percent, such as `0.8`; over 5, something else used the
    /// device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub noise_percent: Option<String>,
    /// Time of the default configuration over that of the winner, such as `1.52`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub speedup_over_default: Option<String>,
    /// Time, at this share, of the largest share's winner over that of this one, such as `1.32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub speedup_over_full_gpu_choice: Option<String>,
    /// Time, under this condition, of the same share's quiet winner over that of this one, such as `1.29`; none where it is
    /// quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub speedup_over_quiet_choice: Option<String>,
    /// The job's metrics of the winner, as numbers in strings, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub metrics: BTreeMap<String, String>,
    /// Why it beats, here, the choice of the largest share (there: of the smallest), in a sentence. None where both chose
    /// the same, on CPUs, and in a job of more than 512 results: its `TuneTask`s have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 384))]
    pub cause: Option<String>,
    /// Product name of the GPU or CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub gpu: Option<String>,
}

/// What times at all shares say of a kernel and problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcrossSharesOf {
    /// Kernel name.
    #[schemars(length(min = 1, max = 63))]
    pub kernel: String,
    /// Problem name.
    #[schemars(length(min = 1, max = 63))]
    pub problem: String,
    /// The smallest share beyond which more of the GPU buys less than `measure.kneePercent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee: Option<Knee>,
    /// The one configuration that is least bad at the share where it is worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_for_all: Option<OneForAll>,
    /// The one configuration that is least bad under the condition where it is worst, loads beside included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_for_conditions: Option<OneForConditions>,
}

/// The sum over all tasks of weight times time, under one condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTotal {
    /// Share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// What ran on the rest of the GPU.
    pub neighbours: Neighbours,
    /// With the default configurations, in nanoseconds.
    #[schemars(range(min = 0))]
    pub default_ns: i64,
    /// With the winners, in nanoseconds.
    #[schemars(range(min = 0))]
    pub best_ns: i64,
    /// Default over best, such as `1.52`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub speedup: Option<String>,
    /// Tasks left out because the default or the winner has no time.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub left_out: i32,
}
