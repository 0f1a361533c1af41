//! `TuneJob` and `TuneTask` as Rust types, their validation, and the YAML generated from them.
//!
//! [`parse`] reads what users write, [`validate`] says everything that is wrong with it at once, and
//! [`schema`] makes the definitions that Kubernetes is given. No reconcile logic lives here.

mod booleans;
mod bounds;
pub mod conditions;
mod fields;
mod figures;
mod job;
mod load;
pub mod names;
pub mod schema;
mod task;
mod validate;
mod yaml;

pub use booleans::booleans_to_kubectl;
pub use figures::{Footprint, Load};
pub use fractune_tuner::condition::Neighbours;
pub use job::{
    AcrossSharesOf, JobTotal, KernelCache, PodTemplate, State, TaskCounts, TuneJob, TuneJobSpec,
    TuneJobStatus, TunedResult,
};
pub use load::{Checked, ConfigMaps, Fleet, LoadError, Manifest, load, load_all, parse};
pub use task::{
    AcrossShares, BestAtShare, Gpu, Knee, OneForAll, OneForConditions, TrialCounts, TuneTask, TuneTaskSpec,
    TuneTaskStatus, UnitsAtShare,
};
pub use validate::validate;
pub use yaml::MAX_BYTES;

/// Labels of everything that a job owns.
pub mod labels {
    /// Name of the `TuneJob`; its digest where the name is longer than a label's value may be.
    pub const JOB: &str = "fractune.dev/job";
    /// Kubernetes' own, on pods of an Indexed Job: the index of the pod's task.
    pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
}

/// Field managers of server-side apply.
pub mod managers {
    /// Everything that the operator writes.
    pub const OPERATOR: &str = "fractune.dev/operator";
    /// Status of a `TuneTask`, from its pod.
    pub const AGENT: &str = "fractune.dev/agent";
    /// Labels of a GPU node, from the agent that runs on it.
    pub const NODE: &str = "fractune.dev/node";
}

/// API group of the resources.
pub const GROUP: &str = "fractune.dev";
/// Group and version of the resources, as in `apiVersion`.
pub const API_VERSION: &str = "fractune.dev/v1alpha1";
