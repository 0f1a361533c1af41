//! A job and what the API server knows of it, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use fractune_crds::{TuneJob, TuneTask};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use crate::fetch::Observed;
use crate::plan::{Object, Settings, plan};
use crate::validate::{Checked, validate};

/// Seconds since 1970 at which tests happen.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn settings() -> Settings {
    Settings { image: "agent:1".into(), image_pull_policy: None, cluster_role: "fractune-agent".into() }
}

/// A C kernel with two problems, at 50 and 100 %; `change` may change the spec.
pub(crate) fn job(change: impl FnOnce(&mut Value)) -> TuneJob {
    let mut job = json!({
        "apiVersion": "fractune.dev/v1alpha1",
        "kind": "TuneJob",
        "metadata": {"name": "demo", "namespace": "team", "uid": "uid-1", "generation": 1},
        "spec": {
            "shares": [50, 100],
            "kernels": [{
                "name": "scale",
                "language": "C",
                "source": {"inline": "void scale(float *out, int len) {}"},
                "entrypoint": "scale",
                "problems": [
                    {"name": "small", "sizes": {"len": 64}},
                    {"name": "large", "sizes": {"len": 128}, "weight": 3}
                ],
                "arguments": [
                    {"buffer": {"name": "out", "type": "f32", "length": "len", "output": true}},
                    {"scalar": {"name": "len", "type": "i32", "value": "len"}}
                ],
                "parameters": [{"name": "BLOCK", "values": [1, 2, 4]}],
                "verify": {"none": true}
            }]
        }
    });
    change(&mut job);
    serde_json::from_value(job).unwrap()
}

/// A job of which nothing has been made yet.
pub(crate) fn fresh(job: TuneJob) -> Observed {
    Observed {
        job: Arc::new(job),
        tasks: BTreeMap::new(),
        foreign_tasks: BTreeMap::new(),
        batch: None,
        pods: Vec::new(),
        config_maps: Vec::new(),
        sources: BTreeMap::new(),
        pods_refused: None,
        offers: None,
        namespace_ends: false,
        now: Timestamp::from_second(NOW).unwrap(),
    }
}

pub(crate) fn checked(observed: &Observed) -> Checked {
    validate(observed).unwrap()
}

/// What is observed once a fresh job's plan was carried out.
pub(crate) fn planned(job: TuneJob) -> Observed {
    let mut observed = fresh(job);
    let checked = checked(&observed);
    for object in plan(&observed, &checked, &settings()).apply {
        match object {
            Object::Task(mut task) => {
                task.metadata.generation = Some(1);
                observed.tasks.insert(task.spec.index as usize, Arc::from(task));
            }
            Object::Batch(batch) => observed.batch = Some(Arc::from(batch)),
            Object::ConfigMap(map) => observed.config_maps.push(Arc::new(map)),
            Object::ServiceAccount(_) | Object::RoleBinding(_) | Object::Scale(_) => {}
        }
    }
    observed
}

/// Changes the status of a task.
pub(crate) fn report(observed: &mut Observed, index: usize, status: Value) {
    let task: &TuneTask = &observed.tasks[&index];
    let mut task = task.clone();
    task.status = Some(serde_json::from_value(status).unwrap());
    observed.tasks.insert(index, Arc::new(task));
}

/// A task's status once it is done: its winner at each share, and the default.
pub(crate) fn done(generation: i64, times: [(u8, i64, i64); 2]) -> Value {
    let best: Vec<Value> = times
        .iter()
        .map(|(share, time, default)| {
            json!({
                "share": share, "neighbours": "Quiet", "trial": 1, "configuration": {"BLOCK": 2},
                "timeNs": time, "defaultNs": default, "quiet": true
            })
        })
        .collect();
    json!({
        "conditions": [condition("Complete", generation, "done")],
        "state": "Complete", "trials": {"total": 3, "ok": 3}, "best": best,
        "gpu": {"product": "A CPU", "compiler": "cc 12"}
    })
}

pub(crate) fn condition(kind: &str, generation: i64, message: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": "Because", "message": message,
        "observedGeneration": generation, "lastTransitionTime": "2027-01-15T08:00:00Z"
    })
}

/// Changes the batch Job.
pub(crate) fn batch(observed: &mut Observed, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(observed.batch.as_deref().unwrap()).unwrap();
    change(&mut value);
    let job: Job = serde_json::from_value(value).unwrap();
    observed.batch = Some(Arc::new(job));
}
