//! What pods say of themselves.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// A pod that no node can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the scheduler's words.
    pub why: String,
}

/// Since when and why a pod cannot be scheduled, if it cannot.
#[must_use]
pub fn unschedulable(pod: &Pod) -> Option<Unschedulable> {
    let status = pod.status.as_ref()?;
    let waits = status.phase.as_deref() == Some("Pending") && pod.metadata.deletion_timestamp.is_none();
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    // Since the pod was made: the scheduler may touch the condition again.
    let since = pod.metadata.creation_timestamp.as_ref().or(condition.last_transition_time.as_ref())?.0;
    let why = condition.message.clone().unwrap_or_default();
    waits.then_some(Unschedulable { since, why })
}

/// Whether a pod is deleted and at its end, and something still holds it: the Job controller does until it has made
/// the pod that takes its place.
#[must_use]
pub fn is_held(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let held = pod.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
    held && pod.metadata.deletion_timestamp.is_some() && matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether a pod's tuning container runs, or ran on a node that is away.
#[must_use]
pub fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Running" | "Unknown"))
}

/// Why a container of a pod cannot start or stay, if it is for an image, a configuration, or a program that ends.
#[must_use]
pub fn cannot_start(pod: &Pod) -> Option<String> {
    const REASONS: [&str; 8] = [
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        // Only the reporter is started again in the same pod.
        "CrashLoopBackOff",
    ];
    // One that goes is replaced by another, which may.
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| REASONS.contains(reason))?;
        let message = waiting.message.as_deref().unwrap_or_default();
        Some(format!("container {}: {reason}: {message}", container.name))
    })
}
