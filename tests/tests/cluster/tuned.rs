//! The way that everything else builds on: a job is applied, tuned, and its results are used.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use fractune_crds::{State, TuneTask};
use fractune_tests::{AGENT_IMAGE, Checkpoint, Fixture, Scope, until};
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::json;

pub(crate) async fn a_job_is_applied_and_complete_and_another_pod_reads_its_results(
    scope: &Scope<'_>,
) -> Result<()> {
    let job = Fixture::new("saxpy", "saxpy")?;
    let large = json!({"name": "large", "sizes": {"len": 20_000, "rounds": 1}, "weight": 3});
    scope.apply(&job.with("/spec/kernels/0/problems/-", large))?;
    let wait = ["wait", "--namespace", scope.namespace(), "--for=condition=Complete", "tunejob/saxpy"];
    scope.cluster().kubectl(&[&wait[..], &["--timeout=120s"]].concat(), None)?;

    let job = scope.state("saxpy", State::Complete, 5).await?;
    let status = job.status.context("no status")?;
    let of: BTreeSet<_> = status.results.iter().map(|r| (r.problem.as_str(), r.share)).collect();
    ensure!(of == BTreeSet::from([("small", 50), ("small", 100), ("large", 50), ("large", 100)]), "{of:?}");
    for result in &status.results {
        ensure!(result.time_ns > 0 && result.configuration.0.len() == 2, "{result:?}");
        ensure!(result.speedup_over_default.is_some(), "{result:?}");
    }
    ensure!(status.totals.len() == 2 && status.speedup.is_some(), "{status:?}");
    ensure!(status.tasks.summary.as_deref() == Some("2/2") && status.trials == 16, "{status:?}");
    for task in scope.list::<TuneTask>().await? {
        let trials = Checkpoint::of(&task)?;
        ensure!(trials.0.len() == 8, "{trials:?}");
        trials.is_kept_in(&trials)?;
    }
    ensure!(scope.batches().await?.len() == 1);
    let row = scope.cluster().kubectl(&["get", "tunejobs", "--namespace", scope.namespace()], None)?;
    let words: Vec<_> = row.split_whitespace().collect();
    ensure!(words[..6] == ["NAME", "STATE", "TASKS", "TRIALS", "SPEEDUP", "AGE"], "{row}");
    ensure!(words[6..10] == ["saxpy", "Complete", "2/2", "16"], "{row}");
    events_are_told_once(scope).await?;
    reads_the_results(scope).await
}

async fn events_are_told_once(scope: &Scope<'_>) -> Result<()> {
    let events = scope.list::<Event>().await?;
    let of_the_job = events.iter().filter(|event| event.involved_object.kind.as_deref() == Some("TuneJob"));
    let mut reasons: Vec<_> = of_the_job.filter_map(|event| event.reason.as_deref()).collect();
    reasons.sort_unstable();
    ensure!(reasons == ["Complete", "Tuning"], "{reasons:?}");
    Ok(())
}

/// A pod that mounts the results compiles code with them.
async fn reads_the_results(scope: &Scope<'_>) -> Result<()> {
    let data = scope.data("saxpy-tuned").await?;
    let json: serde_json::Value = serde_json::from_str(data.get("tuned.json").context("no JSON")?)?;
    ensure!(json.to_string().contains("\"large\""), "{json}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "reader", "image": AGENT_IMAGE, "imagePullPolicy": "Never",
                "command": ["cc", "-fsyntax-only", "-include", "/tuned/tuned.h", "-x", "c", "/dev/null"],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "tuned", "mountPath": "/tuned"}, {"name": "tmp", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "tuned", "configMap": {"name": "saxpy-tuned"}}, {"name": "tmp", "emptyDir": {}},
            ],
        },
    });
    scope.apply_value(&pod)?;
    let api = scope.api::<Pod>();
    let phase = until("the end of the pod that reads the results", 30, async || {
        let phase = api.get("reader").await?.status.and_then(|status| status.phase).unwrap_or_default();
        Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
    });
    let phase = phase.await?;
    let log = scope.cluster().kubectl(&["logs", "--namespace", scope.namespace(), "reader"], None)?;
    ensure!(phase == "Succeeded", "the header does not compile: {log}");
    Ok(())
}
