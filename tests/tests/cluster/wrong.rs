//! Whatever is wrong with a job is refused at once, or told in a sentence that says what to change, and the job goes on
//! by itself when it is changed.

use anyhow::{Result, ensure};
use fractune_crds::conditions::reason;
use fractune_crds::{State, TuneJob};
use fractune_tests::{Fixture, Scope, until};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::running::{JOB, start};

fn fixture() -> Result<Fixture> {
    // No pod is wanted where only the specification is looked at.
    Ok(Fixture::new("saxpy", JOB)?.trials(3).with("/spec/suspend", true))
}

fn says(message: &str, words: &[&str]) -> Result<()> {
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
    ensure!(missing.is_empty(), "{missing:?} is not said in: {message}");
    Ok(())
}

pub(crate) async fn what_no_schema_allows_is_refused_at_admission(scope: &Scope<'_>) -> Result<()> {
    let attempts: [(&str, Value, &[&str]); 12] = [
        ("/spec/shares", json!([0]), &["shares", "1"]),
        ("/spec/shares", json!([101]), &["shares", "100"]),
        ("/spec/shares", json!([]), &["shares"]),
        ("/spec/shares", json!(["half"]), &["shares"]),
        ("/spec/sharess", json!([50]), &["sharess"]),
        ("/spec/kernels", json!([]), &["kernels"]),
        ("/spec/kernels/0/language", json!("Fortran"), &["language", "Fortran"]),
        ("/spec/kernels/0/source", json!({}), &["inline", "configMapKeyRef"]),
        ("/spec/kernels/0/verify", json!({"none": true, "entrypoint": "reference"}), &["verify"]),
        ("/spec/kernels/0/launch", json!({"grid": ["1"], "block": ["1"]}), &["launch"]),
        ("/spec/search/maxTrials", json!(0), &["maxTrials"]),
        ("/spec/startDeadlineSeconds", json!(-1), &["startDeadlineSeconds"]),
    ];
    for (pointer, value, words) in attempts {
        let job = fixture()?.with(pointer, value);
        says(&scope.refused(job.value())?, words)?;
    }
    scope.apply(&fixture()?)?;
    let changes: [(&str, Value); 5] = [
        ("/spec/shares", json!([25])),
        ("/spec/kernels/0/parameters/0/default", json!(64)),
        ("/spec/search/seed", json!(2)),
        ("/spec/measure/finalists", json!(1)),
        ("/spec/template/labels", json!({"team": "a"})),
    ];
    for (pointer, value) in changes {
        says(&scope.refused(fixture()?.with(pointer, value).value())?, &["immutable", "make another job"])?;
    }
    // What may change does.
    scope.apply(&fixture()?.with("/spec/parallelism", 2).trials(4))
}

pub(crate) async fn what_cannot_be_tuned_is_stalled_with_a_sentence(scope: &Scope<'_>) -> Result<()> {
    let constraint =
        |expression: &str| fixture().map(|job| job.with("/spec/kernels/0/constraints", json!([expression])));
    let again = fixture()?.value()["spec"]["kernels"][0].clone();
    let jobs: [(&str, Fixture, &[&str]); 5] = [
        ("unparsable", constraint("BLOCK * (")?, &["BLOCK * ("]),
        ("unknown", constraint("BLOK > 1")?, &["BLOK"]),
        ("empty", constraint("BLOCK < 0")?, &["BLOCK < 0", "no configuration"]),
        ("shares", fixture()?.with("/spec/shares", json!([50, 50])), &["shares", "50"]),
        ("kernels", fixture()?.with("/spec/kernels/-", again), &["saxpy"]),
    ];
    for (name, job, _) in &jobs {
        scope.apply(&job.clone().with("/metadata/name", *name))?;
    }
    for (name, _, words) in &jobs {
        says(&scope.stalled(name, reason::INVALID_SPEC, 30).await?, words)?;
    }
    ensure!(scope.batches().await?.is_empty(), "something was made of a job that cannot be tuned");
    Ok(())
}

fn source(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kernels"}, "data": {"saxpy.c": text}})
}

/// The fixture with its source in a `ConfigMap`, and the source.
fn with_source(job: Fixture) -> (Fixture, String) {
    let text = job.value()["spec"]["kernels"][0]["source"]["inline"].as_str().unwrap_or_default().to_owned();
    let reference = json!({"configMapKeyRef": {"name": "kernels", "key": "saxpy.c"}});
    (job.with("/spec/kernels/0/source", reference), text)
}

pub(crate) async fn a_missing_source_stalls_a_job_until_it_is_there(scope: &Scope<'_>) -> Result<()> {
    let (job, text) = with_source(fixture()?);
    scope.apply(&job)?;
    says(&scope.stalled(JOB, reason::SOURCE_MISSING, 30).await?, &["no ConfigMap kernels", "saxpy.c"])?;
    let mut other = source(&text);
    other["data"] = json!({"other.c": "text"});
    scope.apply_value(&other)?;
    let is_of_the_key = |message: &str| message.contains("has no key \"saxpy.c\"; it has other.c");
    scope
        .job(JOB, "stalled because of the key", 30, |_, status| {
            status.conditions.iter().any(|condition| is_of_the_key(&condition.message))
        })
        .await?;
    scope.apply_value(&source(&text))?;
    scope.state(JOB, State::Suspended, 30).await?;
    ensure!(scope.batches().await?.len() == 1);
    Ok(())
}

pub(crate) async fn a_source_that_changes_under_a_running_job_stalls_it(scope: &Scope<'_>) -> Result<()> {
    let (job, text) = with_source(crate::running::job()?.trials(64));
    scope.apply_value(&source(&text))?;
    let running = start(scope, job).await?;
    scope.apply_value(&source(&format!("{text}\n// changed\n")))?;
    let message = scope.stalled(JOB, reason::SOURCE_CHANGED, 30).await?;
    says(&message, &["kernels", "Put the old text back"])?;
    // The pod goes on with the old text.
    let pod: Pod = scope.api().get(&running.pod.name_any()).await?;
    ensure!(pod.metadata.deletion_timestamp.is_none(), "the pod was stopped");
    scope.apply_value(&source(&text))?;
    scope.state(JOB, State::Complete, 120).await.map(|_| ())
}

pub(crate) async fn a_name_that_is_taken_stalls_a_job_until_it_is_free(scope: &Scope<'_>) -> Result<()> {
    let foreign_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "saxpy-job"}});
    let container = json!({"name": "main", "image": "localhost/pause:1"});
    let foreign_job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    });
    scope.apply_value(&foreign_map)?;
    scope.apply_value(&foreign_job)?;
    scope.apply(&fixture()?)?;
    says(&scope.stalled(JOB, reason::NAME_TAKEN, 30).await?, &["ConfigMap saxpy-job", "Delete it"])?;
    scope.api::<ConfigMap>().delete("saxpy-job", &DeleteParams::default()).await?;
    // Nobody watches what is not the job's: the operator looks again after half a minute.
    let of_the_job = |job: &TuneJob| {
        let conditions = job.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.reason == reason::NAME_TAKEN && c.message.contains("Job saxpy"))
    };
    scope.job(JOB, "stalled because of the Job", 45, |job, _| of_the_job(job)).await?;
    scope.api::<Job>().delete(JOB, &DeleteParams::background()).await?;
    scope.state(JOB, State::Suspended, 45).await?;
    ensure!(scope.batches().await?.len() == 1);
    Ok(())
}

pub(crate) async fn a_share_that_nobody_offers_is_named_and_waited_for(scope: &Scope<'_>) -> Result<()> {
    let job = Fixture::new("saxpy-cuda", JOB)?.with("/spec/startDeadlineSeconds", 2);
    scope.apply(&job)?;
    let message = scope.stalled(JOB, reason::UNSCHEDULABLE, 45).await?;
    says(&message, &["fractune.dev/mps-50", "node-1: no GPU share", "node-2: no GPU share", "CPUs"])?;
    let offer = |op: &str| {
        let patch =
            json!([{"op": op, "path": "/status/capacity/fractune.dev~1mps-50", "value": "1"}]).to_string();
        let words = ["patch", "node", "node-1", "--subresource=status", "--type=json", "--patch", &patch];
        scope.cluster().kubectl(&words, None)
    };
    offer("add")?;
    // It goes on by itself, and finds that the offer was an empty one.
    let told = scope.stalled(JOB, reason::DEVICE_UNAVAILABLE, 60).await;
    offer("remove")?;
    says(&told?, &["saxpy/small"])
}

pub(crate) async fn a_kernel_that_always_crashes_fails_and_the_others_are_tuned(
    scope: &Scope<'_>,
) -> Result<()> {
    let job = fixture()?.with("/spec/suspend", false);
    let mut broken = job.value()["spec"]["kernels"][0].clone();
    broken["name"] = json!("broken");
    let text = broken["source"]["inline"].as_str().unwrap_or_default();
    broken["source"]["inline"] = json!(text.replacen("#pragma omp", "__builtin_trap();\n#pragma omp", 1));
    scope.apply(&job.with("/spec/kernels/-", broken))?;
    let job = scope.state(JOB, State::Failed, 120).await?;
    let status = job.status.unwrap_or_default();
    let failed = status.conditions.iter().find(|condition| condition.type_ == "Failed");
    ensure!(failed.is_some_and(|c| c.reason == reason::TASKS_FAILED), "{failed:?}");
    says(&failed.map(|condition| condition.message.clone()).unwrap_or_default(), &["broken/small"])?;
    ensure!(status.tasks.succeeded == 1 && status.tasks.failed == 1, "{:?}", status.tasks);
    ensure!(status.results.len() == 2 && status.results.iter().all(|result| result.kernel == "saxpy"));
    ensure!(scope.data("saxpy-tuned").await?.contains_key("tuned.json"));
    Ok(())
}

pub(crate) async fn a_quota_of_zero_stalls_a_job_until_it_is_raised(scope: &Scope<'_>) -> Result<()> {
    let quota = |pods: &str| {
        json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
            "spec": {"hard": {"pods": pods}},
        })
    };
    scope.apply_value(&quota("0"))?;
    until("the quota to hold", 30, async || {
        let api = scope.api::<ResourceQuota>();
        Ok(api.get("none").await?.status.filter(|status| status.hard.is_some()).map(|_| ()))
    })
    .await?;
    scope.apply(&fixture()?.with("/spec/suspend", false))?;
    let message = scope.stalled(JOB, reason::PODS_REFUSED, 60).await?;
    says(&message, &["exceeded quota: none"])?;
    scope.apply_value(&quota("5"))?;
    scope.state(JOB, State::Complete, 180).await.map(|_| ())
}

pub(crate) async fn a_limit_range_that_refuses_the_pods_is_told(scope: &Scope<'_>) -> Result<()> {
    let limits = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]},
    });
    scope.apply_value(&limits)?;
    scope.apply(&fixture()?.with("/spec/suspend", false))?;
    let message = scope.stalled(JOB, reason::PODS_REFUSED, 60).await?;
    says(&message, &["maximum memory usage per Container is 16Mi"])
}
