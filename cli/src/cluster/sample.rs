//! Objects as a cluster has them, for tests.

use fractune_crds::{TuneJob, TuneTask};
use fractune_tuner::task::Task;
use serde_json::{Value, json};

/// A job of one kernel with these problems, as the API server has it, and what it asks for.
pub(crate) fn job(problems: &[&str]) -> (TuneJob, Vec<Task>) {
    let problems: Vec<Value> =
        problems.iter().map(|name| json!({"name": name, "sizes": {"len": 64}})).collect();
    let object = json!({
        "apiVersion": "fractune.dev/v1alpha1", "kind": "TuneJob",
        "metadata": {"name": "demo", "namespace": "team", "uid": "u1", "generation": 1},
        "spec": {
            "shares": [50, 100], "search": {"maxTrials": 3},
            "kernels": [{
                "name": "k", "language": "C", "entrypoint": "f", "problems": problems,
                "source": {"inline": "void f(float *c, int len) {} void g(float *c, int len) {}"},
                "arguments": [
                    {"buffer": {"name": "c", "type": "f32", "length": "len", "output": true}},
                    {"scalar": {"name": "len", "type": "i32", "value": "len"}},
                ],
                "parameters": [{"name": "x", "values": [0, 1, 2, 3, 4, 5, 6, 7], "default": 0}],
                "verify": {"entrypoint": "g"},
            }],
        },
    });
    let (_, tasks) = fractune_crds::load(object.to_string().as_bytes(), |_| {}).unwrap();
    (serde_json::from_value(object).unwrap(), tasks)
}

/// The same job with a status.
pub(crate) fn job_with(status: Value) -> TuneJob {
    let (mut job, _) = job(&["small", "large"]);
    job.status = Some(serde_json::from_value(status).unwrap());
    job
}

/// A task of it.
pub(crate) fn task(index: i32, problem: &str, status: &Value) -> TuneTask {
    serde_json::from_value(json!({
        "apiVersion": "fractune.dev/v1alpha1", "kind": "TuneTask",
        "metadata": {"name": format!("demo-{index}"), "namespace": "team", "generation": 1},
        "spec": {"jobName": "demo", "kernel": "k", "problem": problem, "shares": [50, 100], "index": index,
            "maxTrials": 40, "digest": "d"},
        "status": status,
    }))
    .unwrap()
}
