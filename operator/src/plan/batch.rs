//! The batch Job: one Indexed Job, whose completion index is the task's.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use kube::ResourceExt as _;

use super::pod::{self, TUNE};
use super::{Scale, Settings, metadata};
use crate::fetch::Observed;
use crate::status::batch::{self as batch_status, AGENT_IMAGE, MAX_TRIALS};
use crate::status::pods;
use crate::validate::Checked;

/// Pods of one task that may fail, unless the job says otherwise.
const BACKOFF_LIMIT: i32 = 3;
/// Exit codes after which another pod would fail as well: no configuration works, the specification is wrong.
const HOPELESS: [i32; 2] = [1, 65];
/// Exit code of an interrupted agent, whose trials are kept.
const INTERRUPTED: i32 = 75;

/// The batch Job of a job that has none yet.
pub(super) fn new(observed: &Observed, checked: &Checked, settings: &Settings) -> Job {
    let spec = &observed.job.spec;
    let tasks = i32::try_from(checked.tasks.len()).unwrap_or(i32::MAX);
    let mut metadata = metadata(observed, observed.base());
    metadata.annotations = Some(BTreeMap::from([
        (MAX_TRIALS.to_owned(), spec.search.max_trials.to_string()),
        (AGENT_IMAGE.to_owned(), image(settings)),
    ]));
    metadata.labels.get_or_insert_default().extend(observed.queue_labels());
    let spec = JobSpec {
        completion_mode: Some("Indexed".to_owned()),
        completions: Some(tasks),
        parallelism: Some(parallelism(observed, checked.tasks.len())),
        // A queue admits a Job by unsuspending it.
        suspend: Some(spec.suspend || observed.is_queued()),
        backoff_limit_per_index: Some(spec.backoff_limit.unwrap_or(BACKOFF_LIMIT)),
        // One task that cannot be tuned is no reason to give the others up.
        max_failed_indexes: Some(tasks),
        active_deadline_seconds: spec.active_deadline_seconds,
        pod_failure_policy: Some(failure_policy()),
        pod_replacement_policy: Some("Failed".to_owned()),
        template: pod::template(observed, settings),
        ..JobSpec::default()
    };
    Job { metadata, spec: Some(spec), status: None }
}

/// What differs between a live batch Job and the job's wishes; none where nothing does.
pub(super) fn scale(observed: &Observed, batch: &Job, tasks: usize) -> Option<Scale> {
    let live = batch.spec.as_ref()?;
    let wanted = parallelism(observed, tasks);
    let parallelism = (live.parallelism != Some(wanted)).then_some(wanted);
    let suspended = live.suspend.unwrap_or_default();
    let suspend = if observed.job.spec.suspend {
        (!suspended).then_some(true)
    } else {
        // Only the queue may let a queued Job run.
        (suspended && !observed.is_queued()).then_some(false)
    };
    let scale = Scale { name: batch.name_any(), parallelism, suspend };
    (scale.parallelism.is_some() || scale.suspend.is_some()).then_some(scale)
}

/// Whether pods are to be made of another image than the batch Job's, whose template may not change, and none of it runs:
/// nothing is lost then. A wrong image, of which no pod ever starts, is mended so.
pub(super) fn must_be_remade(observed: &Observed, batch: &Job, settings: &Settings) -> bool {
    // Another Job would lose its place in the queue.
    let queues = batch_status::is_suspended(batch) && observed.is_queued();
    let current = batch.annotations().get(AGENT_IMAGE) == Some(&image(settings));
    !current && !queues && !observed.pods.iter().any(|pod| pods::runs(pod))
}

/// The agent's image, and when nodes pull it, in one word.
fn image(settings: &Settings) -> String {
    let policy = settings.image_pull_policy.as_ref().map(|policy| format!(" ({policy})"));
    format!("{}{}", settings.image, policy.unwrap_or_default())
}

fn parallelism(observed: &Observed, tasks: usize) -> i32 {
    let wanted = i32::try_from(observed.job.spec.parallelism).unwrap_or(i32::MAX);
    wanted.min(i32::try_from(tasks).unwrap_or(i32::MAX)).max(1)
}

fn failure_policy() -> PodFailurePolicy {
    let exits = |action: &str, codes: &[i32]| PodFailurePolicyRule {
        action: action.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(TUNE.to_owned()),
            operator: "In".to_owned(),
            values: codes.to_vec(),
        }),
        on_pod_conditions: None,
    };
    let disrupted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
    };
    let rules = vec![disrupted, exits("Ignore", &[INTERRUPTED]), exits("FailIndex", &HOPELESS)];
    PodFailurePolicy { rules }
}
