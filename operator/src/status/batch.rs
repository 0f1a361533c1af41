//! What a batch Job says of itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::ResourceExt as _;

use crate::fetch::Observed;

/// Annotation of a batch Job: the `maxTrials` that it was made for.
pub const MAX_TRIALS: &str = "fractune.dev/max-trials";
/// Annotation of a batch Job: the agent's image that it was made with, and when nodes pull it. What the template says may
/// be another's: webhooks rewrite images.
pub const AGENT_IMAGE: &str = "fractune.dev/agent-image";

fn condition<'a>(batch: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = batch.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether all its pods are over, well or not.
#[must_use]
pub fn is_finished(batch: &Job) -> bool {
    condition(batch, "Complete").is_some() || failure(batch).is_some()
}

/// When all its pods had done their work.
#[must_use]
pub fn completed(batch: &Job) -> Option<Timestamp> {
    condition(batch, "Complete")?.last_transition_time.as_ref().map(|time| time.0)
}

/// When it failed.
#[must_use]
pub fn failed(batch: &Job) -> Option<Timestamp> {
    condition(batch, "Failed")?.last_transition_time.as_ref().map(|time| time.0)
}

/// Reason and message of its failure, if it failed.
#[must_use]
pub fn failure(batch: &Job) -> Option<(&str, &str)> {
    let failed = condition(batch, "Failed")?;
    Some((failed.reason.as_deref().unwrap_or_default(), failed.message.as_deref().unwrap_or_default()))
}

/// Whether it was made for the `maxTrials` that the job has now.
#[must_use]
pub fn is_current(batch: &Job, observed: &Observed) -> bool {
    batch.annotations().get(MAX_TRIALS) == Some(&observed.job.spec.search.max_trials.to_string())
}

/// Whether it is suspended.
#[must_use]
pub fn is_suspended(batch: &Job) -> bool {
    batch.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or_default()
}

/// Pods that run or wait.
#[must_use]
pub fn active(batch: &Job) -> i32 {
    batch.status.as_ref().and_then(|status| status.active).unwrap_or_default()
}

/// Indexes that were given up.
#[must_use]
pub fn failed_indexes(batch: &Job) -> BTreeSet<usize> {
    let text = batch.status.as_ref().and_then(|status| status.failed_indexes.as_deref());
    indexes(text.unwrap_or_default())
}

/// Reads `0,3-5`; what is no such list is no index.
fn indexes(text: &str) -> BTreeSet<usize> {
    /// Completions that a Job may have.
    const MOST: usize = 100_000;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        Some(first..=last.min(MOST))
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_as_kubernetes_writes_them() {
        assert_eq!(indexes("1,3-5,7"), BTreeSet::from([1, 3, 4, 5, 7]));
        assert_eq!(indexes(""), BTreeSet::new());
        assert_eq!(indexes("x,2-"), BTreeSet::new());
    }
}
