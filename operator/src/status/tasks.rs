//! What tasks say of themselves.

use fractune_crds::TuneTask;
use fractune_crds::conditions::{COMPLETE, FAILED, STALLED};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::fetch::Observed;

/// A condition of a task that holds for its spec as it stands.
#[must_use]
pub fn current<'a>(task: &'a TuneTask, kind: &str) -> Option<&'a Condition> {
    let conditions = &task.status.as_ref()?.conditions;
    conditions.iter().find(|condition| {
        let current = condition.observed_generation.is_none()
            || condition.observed_generation >= task.metadata.generation;
        condition.type_ == kind && condition.status == "True" && current
    })
}

/// Whether a task is done as its spec stands.
#[must_use]
pub fn is_complete(task: &TuneTask) -> bool {
    current(task, COMPLETE).is_some()
}

/// Tasks that are done, with as many trials as the job wants now.
#[must_use]
pub fn complete(observed: &Observed) -> usize {
    let wanted = i64::from(observed.job.spec.search.max_trials);
    observed.tasks.values().filter(|task| is_complete(task) && task.spec.max_trials == wanted).count()
}

/// The first task that waits for somebody to change something, and what it says.
#[must_use]
pub fn stalled(observed: &Observed) -> Option<(&TuneTask, &Condition)> {
    observed.tasks.values().find_map(|task| Some((&**task, current(task, STALLED)?)))
}

/// What a task says of its failure, if it failed.
#[must_use]
pub fn failure(task: &TuneTask) -> Option<&Condition> {
    current(task, FAILED)
}

/// `kernel/problem`.
#[must_use]
pub fn name(task: &TuneTask) -> String {
    format!("{}/{}", task.spec.kernel, task.spec.problem)
}
