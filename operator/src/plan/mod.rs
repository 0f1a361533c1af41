//! The third step: what must be there. A pure function from what was observed to objects.

mod batch;
mod identity;
mod pod;

use std::collections::BTreeMap;

use fractune_crds::{TuneTask, TuneTaskSpec, labels, names};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use crate::fetch::Observed;
use crate::status::{batch as batch_status, tasks};
use crate::validate::Checked;

/// What the operator was told about the pods that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of the agent.
    pub image: String,
    /// When nodes pull it.
    pub image_pull_policy: Option<String>,
    /// `ClusterRole` of the reporters.
    pub cluster_role: String,
}

/// An object that a job needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Identity of the reporters.
    ServiceAccount(ServiceAccount),
    /// What the reporters may do.
    RoleBinding(RoleBinding),
    /// The job for its pods, or its results.
    ConfigMap(ConfigMap),
    /// A kernel and problem.
    Task(Box<TuneTask>),
    /// The pods.
    Batch(Box<Job>),
    /// The parts of a batch Job that may change while it lives.
    Scale(Scale),
}

/// The parts of a batch Job that may change while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Name of the batch Job.
    pub name: String,
    /// Pods at a time, where that differs.
    pub parallelism: Option<i32>,
    /// Whether it is suspended, where that differs.
    pub suspend: Option<bool>,
}

/// What is to be done about a job, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects to apply. Pods come last: they find everything else.
    pub apply: Vec<Object>,
    /// Delete the batch Job. Where the job goes on, the next pass makes another.
    pub delete_batch: bool,
    /// Delete everything but the results: the job was over long enough ago.
    pub clean_up: bool,
}

/// Plans a job that can be tuned.
#[must_use]
pub fn plan(observed: &Observed, checked: &Checked, settings: &Settings) -> Plan {
    if tasks::complete(observed) == checked.tasks.len() {
        return Plan::default();
    }
    let mut apply = Vec::new();
    if observed.own_batch().is_none() {
        apply.extend(identity::objects(observed, settings));
    }
    let manifest = manifest(observed, checked);
    if !observed.config_maps.iter().any(|known| known.metadata.name == manifest.metadata.name) {
        apply.push(Object::ConfigMap(manifest));
    }
    apply.extend(task_objects(observed, checked).into_iter().map(|task| Object::Task(Box::new(task))));
    // A queue would let a Job that it has admitted run again: a stopped job has none.
    let held = observed.job.spec.suspend && observed.is_queued();
    match observed.own_batch() {
        None if held => {}
        None => apply.push(Object::Batch(Box::new(batch::new(observed, checked, settings)))),
        Some(batch) if batch_status::is_finished(batch) => {
            return Plan { apply, delete_batch: goes_on(observed, batch), ..Plan::default() };
        }
        Some(_) if held => return Plan { apply, delete_batch: true, ..Plan::default() },
        Some(batch) if batch::must_be_remade(observed, batch, settings) => {
            return Plan { apply, delete_batch: true, ..Plan::default() };
        }
        Some(batch) => apply.extend(batch::scale(observed, batch, checked.tasks.len()).map(Object::Scale)),
    }
    Plan { apply, ..Plan::default() }
}

/// Plans a job that is at its end.
#[must_use]
pub fn plan_over(observed: &Observed) -> Plan {
    Plan { clean_up: expired(observed), ..Plan::default() }
}

/// Plans a job whose namespace is being deleted. Kubernetes deletes the pods of a namespace first, and the Job controller
/// lets go of the last pod of an index when it has made its successor (`backoffLimitPerIndex`), which it may not there:
/// each would wait for the other for ever. Without the Job the pods are let go.
#[must_use]
pub fn plan_end_of_namespace() -> Plan {
    Plan { delete_batch: true, ..Plan::default() }
}

/// Plans a job that cannot go on as it is: what runs may still be suspended.
#[must_use]
pub fn plan_stalled(observed: &Observed) -> Plan {
    let batch = observed.own_batch().filter(|batch| !batch_status::is_finished(batch));
    let scale = batch.and_then(|batch| batch::scale(observed, batch, observed.tasks.len()));
    Plan { apply: scale.map(Object::Scale).into_iter().collect(), ..Plan::default() }
}

/// Whether the job's end lies further back than its TTL, and there is something to delete.
fn expired(observed: &Observed) -> bool {
    let left = time_to_live(observed);
    let children = !observed.tasks.is_empty() || observed.own_batch().is_some();
    children && left.is_some_and(|left| left <= SignedDuration::ZERO)
}

/// Time until the children of a finished job are deleted; none where they never are.
#[must_use]
pub fn time_to_live(observed: &Observed) -> Option<SignedDuration> {
    let ttl = i64::from(observed.job.spec.ttl_seconds_after_finished?);
    let end = observed.job.status.as_ref()?.completion_time.as_ref()?;
    Some(SignedDuration::from_secs(ttl) - observed.now.duration_since(end.0))
}

/// Whether a finished batch Job must make way for one that goes on, where a task is not done: `maxTrials` was raised since
/// it was made, or its pods are done, as when the task was deleted.
fn goes_on(observed: &Observed, batch: &Job) -> bool {
    /// Reports may reach the cache later than the end of the pods.
    const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
    let age = batch_status::completed(batch).map(|end| observed.now.duration_since(end));
    age.is_some_and(|age| age > PATIENCE) || !batch_status::is_current(batch, observed)
}

/// The job and its sources, for the pods. It never changes: neither does what the digest covers.
fn manifest(observed: &Observed, checked: &Checked) -> ConfigMap {
    let digest = BTreeMap::from([(names::DIGEST_ANNOTATION.to_owned(), checked.digest.clone())]);
    ConfigMap {
        metadata: ObjectMeta {
            annotations: Some(digest),
            ..metadata(observed, names::manifest(&observed.base()))
        },
        data: Some(BTreeMap::from([(names::MANIFEST_KEY.to_owned(), checked.manifest.clone())])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// Tasks that are not there, or differ.
fn task_objects(observed: &Observed, checked: &Checked) -> Vec<TuneTask> {
    let spec = &observed.job.spec;
    let base = observed.base();
    let task = |(index, name): (usize, &crate::validate::TaskName)| {
        let spec = TuneTaskSpec {
            job_name: observed.name().to_owned(),
            kernel: name.kernel.clone(),
            problem: name.problem.clone(),
            shares: spec.shares.clone(),
            index: i32::try_from(index).unwrap_or(i32::MAX),
            max_trials: i64::from(spec.search.max_trials),
            digest: checked.digest.clone(),
        };
        let name = names::task(&base, index);
        TuneTask { metadata: metadata(observed, name), spec, status: None }
    };
    let live = |task: &TuneTask| observed.tasks.get(&usize::try_from(task.spec.index).unwrap_or_default());
    let tasks = checked.tasks.iter().enumerate().map(task);
    tasks.filter(|task| live(task).is_none_or(|live| live.spec != task.spec)).collect()
}

/// Metadata of an object that the job owns.
pub(crate) fn metadata(observed: &Observed, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: observed.job.namespace(),
        labels: Some(BTreeMap::from([(labels::JOB.to_owned(), observed.base())])),
        owner_references: observed.job.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
