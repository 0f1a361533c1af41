//! Suspending, resuming, going on, ending and being deleted.

use anyhow::{Context as _, Result, ensure};
use fractune_crds::{State, TuneJob, TuneTask};
use fractune_tests::{Checkpoint, Fixture, Scope, until};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::running::{End, JOB, TASK, TRIALS, job, start};

/// The grace period of tuning pods in seconds.
const GRACE: u64 = 60;

pub(crate) async fn suspending_stops_pods_in_time_and_keeps_the_trials(scope: &Scope<'_>) -> Result<()> {
    start(scope, job()?).await?;
    scope.change(JOB, json!({"suspend": true})).await?;
    until("the end of all pods", GRACE, async || Ok(scope.list::<Pod>().await?.is_empty().then_some(())))
        .await?;
    scope.state(JOB, State::Suspended, 15).await?;
    let left = Checkpoint::of(&scope.api::<TuneTask>().get(TASK).await?)?;
    ensure!(left.0.len() >= 5, "{} trials were kept", left.0.len());

    scope.change(JOB, json!({"suspend": false})).await?;
    scope.state(JOB, State::Complete, 120).await?;
    let end = End::of(scope, JOB).await?;
    ensure!(end == End::expected(JOB, 1, TRIALS).once_suspended(), "{end:#?}");
    left.is_kept_in(&Checkpoint::of(&scope.api::<TuneTask>().get(TASK).await?)?)
}

pub(crate) async fn a_finished_job_goes_on_when_more_trials_are_asked_for(scope: &Scope<'_>) -> Result<()> {
    scope.apply(&Fixture::new("saxpy", JOB)?.trials(6))?;
    scope.state(JOB, State::Complete, 120).await?;
    let first = Checkpoint::of(&scope.api::<TuneTask>().get(TASK).await?)?;
    scope.change(JOB, json!({"search": {"maxTrials": 12}})).await?;
    scope.job(JOB, "12 trials", 120, |_, status| status.trials == 12).await?;
    scope.state(JOB, State::Complete, 60).await?;
    let end = End::of(scope, JOB).await?;
    ensure!(end == End::expected(JOB, 1, 12), "{end:#?}");
    first.is_kept_in(&Checkpoint::of(&scope.api::<TuneTask>().get(TASK).await?)?)
}

/// Everything that a job made and that is still there; the results where `with_results`.
async fn leftovers(scope: &Scope<'_>, with_results: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    found.extend(scope.list::<TuneTask>().await?.iter().map(|o| format!("TuneTask {}", o.name_any())));
    found.extend(scope.list::<Job>().await?.iter().map(|o| format!("Job {}", o.name_any())));
    found.extend(scope.list::<Pod>().await?.iter().map(|o| format!("Pod {}", o.name_any())));
    found.extend(scope.list::<RoleBinding>().await?.iter().map(|o| format!("RoleBinding {}", o.name_any())));
    let accounts = scope.list::<ServiceAccount>().await?;
    let accounts = accounts.iter().map(ServiceAccount::name_any).filter(|name| name != "default");
    found.extend(accounts.map(|name| format!("ServiceAccount {name}")));
    let maps = scope.list::<ConfigMap>().await?;
    let maps = maps.iter().map(ConfigMap::name_any).filter(|name| name != "kube-root-ca.crt");
    let maps = maps.filter(|name| with_results || !name.ends_with("-tuned"));
    found.extend(maps.map(|name| format!("ConfigMap {name}")));
    Ok(found)
}

async fn all_is_gone(scope: &Scope<'_>, with_results: bool) -> Result<()> {
    until("everything to be gone", GRACE + 30, async || {
        let left = leftovers(scope, with_results).await?;
        ensure!(left.is_empty(), "there still are {}", left.join(", "));
        Ok(Some(()))
    })
    .await
}

pub(crate) async fn a_job_deleted_in_mid_run_leaves_nothing_behind(scope: &Scope<'_>) -> Result<()> {
    start(scope, job()?).await?;
    scope.api::<TuneJob>().delete(JOB, &DeleteParams::default()).await?;
    all_is_gone(scope, true).await
}

pub(crate) async fn a_namespace_deleted_in_mid_run_ends(scope: &Scope<'_>) -> Result<()> {
    start(scope, job()?).await?;
    let api: Api<Namespace> = Api::all(scope.cluster().client());
    api.delete(scope.namespace(), &DeleteParams::default()).await?;
    until("the namespace's end", GRACE + 30, async || {
        Ok(api.get_opt(scope.namespace()).await?.is_none().then_some(()))
    })
    .await
}

pub(crate) async fn a_time_to_live_removes_everything_but_the_job_and_its_results(
    scope: &Scope<'_>,
) -> Result<()> {
    scope.apply(&Fixture::new("saxpy", JOB)?.trials(3).with("/spec/ttlSecondsAfterFinished", 2))?;
    let complete = scope.state(JOB, State::Complete, 120).await?;
    all_is_gone(scope, false).await?;
    let job: TuneJob = scope.api().get(JOB).await?;
    let (before, after) = (complete.status.context("no status")?, job.status.context("no status")?);
    ensure!(after.state == Some(State::Complete), "{after:?}");
    ensure!(after.results == before.results && after.results.len() == 2, "{after:?}");
    ensure!(scope.data("saxpy-tuned").await?.contains_key("tuned.h"));
    Ok(())
}

pub(crate) async fn a_deadline_ends_a_job_as_failed(scope: &Scope<'_>) -> Result<()> {
    scope.apply(&job()?.trials(64).with("/spec/activeDeadlineSeconds", 5))?;
    let job = scope.state(JOB, State::Failed, GRACE + 30).await?;
    let conditions = job.status.context("no status")?.conditions;
    let failed = conditions.iter().find(|condition| condition.type_ == "Failed").context("no condition")?;
    ensure!(failed.status == "True" && failed.reason == "DeadlineExceeded", "{failed:?}");
    ensure!(failed.message.contains("activeDeadlineSeconds (5 s)"), "{}", failed.message);
    Ok(())
}

pub(crate) async fn five_hundred_problems_become_five_hundred_tasks(scope: &Scope<'_>) -> Result<()> {
    let mut job = Fixture::new("saxpy", JOB)?.with("/spec/suspend", true);
    let kernel = job.value()["spec"]["kernels"][0].clone();
    for number in 0..5 {
        let problem =
            |size: u32| json!({"name": format!("p{size}"), "sizes": {"len": 1000 + size, "rounds": 1}});
        let problems: Vec<_> = (0..100).map(problem).collect();
        let at = format!("/spec/kernels/{number}");
        job = job.with(&at, kernel.clone()).with(&format!("{at}/name"), format!("saxpy{number}"));
        job = job.with(&format!("{at}/problems"), problems);
    }
    scope.apply(&job)?;
    let job = scope.state(JOB, State::Suspended, 90).await?;
    ensure!(job.status.context("no status")?.tasks.total == 500);
    let mut indexes: Vec<_> = scope.list::<TuneTask>().await?.iter().map(|task| task.spec.index).collect();
    indexes.sort_unstable();
    ensure!(indexes == (0..500).collect::<Vec<_>>(), "{indexes:?}");
    let batches = scope.batches().await?;
    ensure!(batches.len() == 1 && batches[0].spec.as_ref().and_then(|s| s.completions) == Some(500));
    scope.api::<TuneJob>().delete(JOB, &DeleteParams::default()).await?;
    all_is_gone(scope, true).await
}

pub(crate) async fn a_name_of_63_characters_works(scope: &Scope<'_>) -> Result<()> {
    let (one, other) = ("a".repeat(63), format!("{}b", "a".repeat(62)));
    scope.apply(&Fixture::new("saxpy", &one)?.trials(3))?;
    scope.apply(&Fixture::new("saxpy", &other)?.trials(3).with("/spec/suspend", true))?;
    scope.state(&one, State::Complete, 120).await?;
    scope.state(&other, State::Suspended, 30).await?;
    let tasks = scope.list::<TuneTask>().await?;
    ensure!(tasks.len() == 2, "{} tasks", tasks.len());
    Ok(())
}
