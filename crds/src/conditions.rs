//! Types and reasons of conditions, as the API documents them. Consumers may rely on these words.
//!
//! `Reconciling` and `Stalled` follow kstatus (sigs.k8s.io/cli-utils), by which Helm, Flux and `kubectl wait` judge.

/// The job or task is done: every result is in its status.
pub const COMPLETE: &str = "Complete";
/// The job or task was given up.
pub const FAILED: &str = "Failed";
/// Nothing runs, because the user or a queue said so.
pub const SUSPENDED: &str = "Suspended";
/// Work is under way. There is no such condition once the job is done.
pub const RECONCILING: &str = "Reconciling";
/// It cannot go on until somebody changes something; the message says what. It goes on by itself after that.
pub const STALLED: &str = "Stalled";

/// What Reconciling says of a job whose pods nothing keeps from starting: from the first pass on, so that a status is
/// written once before there is something to tell.
pub const PODS_ARE_STARTING: &str = "pods are starting";

/// Reasons of conditions.
pub mod reason {
    /// Every task is done.
    pub const TASKS_COMPLETE: &str = "TasksComplete";
    /// A task's search and its quiet rounds are over.
    pub const TUNED: &str = "Tuned";
    /// No configuration compiled, verified and ran.
    pub const NO_CONFIGURATION: &str = "NoConfiguration";
    /// At least one task failed for good.
    pub const TASKS_FAILED: &str = "TasksFailed";
    /// `activeDeadlineSeconds` have passed.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The specification cannot be tuned as it stands.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The stored object does not fit its types.
    pub const INVALID_OBJECT: &str = "InvalidObject";
    /// A `ConfigMap` or a key that a kernel's source names is not there.
    pub const SOURCE_MISSING: &str = "SourceMissing";
    /// A source has changed since its first trial.
    pub const SOURCE_CHANGED: &str = "SourceChanged";
    /// Specification and sources do not fit into one `ConfigMap`.
    pub const SOURCE_TOO_LARGE: &str = "SourceTooLarge";
    /// An object that the job needs exists already, and belongs to somebody else.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// No node can take the pods.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// Kubernetes refuses to create the pods: a quota, a policy.
    pub const PODS_REFUSED: &str = "PodsRefused";
    /// The node has no usable GPU, MPS or compiler.
    pub const DEVICE_UNAVAILABLE: &str = "DeviceUnavailable";
    /// The API server refuses one of the job's objects.
    pub const REFUSED: &str = "Refused";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// A queue has not admitted the job yet, or stopped it.
    pub const QUEUED: &str = "Queued";
    /// Tasks and pods are being created.
    pub const STARTING: &str = "Starting";
    /// Pods are tuning.
    pub const TUNING: &str = "Tuning";
    /// The pod was stopped; the task goes on in another one.
    pub const INTERRUPTED: &str = "Interrupted";
    /// The condition no longer holds.
    pub const RESOLVED: &str = "Resolved";
}
