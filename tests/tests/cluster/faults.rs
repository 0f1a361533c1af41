//! Whatever dies on the way: no trial that was checkpointed is made again, none is lost, nothing is there twice.

use anyhow::{Result, ensure};
use fractune_crds::TuneTask;
use fractune_tests::{Checkpoint, Follow, Scope, resumed_in, trials_in, until};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;

use crate::running::{JOB, Running, TASK, TRIALS, completes, job, start};

/// Waits for a second pod; checks that it goes on from the checkpoint that the first one left, and ends.
async fn goes_on_in_another_pod(scope: &Scope<'_>, first: Running) -> Result<()> {
    let second = scope.pod(JOB, 0, &[&first.pod]).await?;
    let left: TuneTask = scope.api().get(TASK).await?;
    let log = Follow::start(scope, &second.name_any())?;
    let before = trials_in(&first.log.end().await?);
    let task = completes(scope).await?;
    let log = log.end().await?;
    let after = trials_in(&log);
    let checkpoint = Checkpoint::of(&left)?;
    checkpoint.is_kept_in(&Checkpoint::of(&task)?)?;
    ensure!(resumed_in(&log) == Some(checkpoint.0.len()), "{:?} of {}", resumed_in(&log), checkpoint.0.len());
    for (number, told) in &before {
        // The reporter stored everything before it ended.
        ensure!(checkpoint.0.contains_key(number), "trial {number} was made, and is not in the checkpoint");
        let now = after.get(number);
        ensure!(now == Some(told), "trial {number} was {told}, and in the next pod {now:?}");
    }
    ensure!(after.len() == TRIALS as usize && before.len() < after.len(), "{} trials", after.len());
    Ok(())
}

pub(crate) async fn a_deleted_pod_is_replaced_and_goes_on_from_its_checkpoint(
    scope: &Scope<'_>,
) -> Result<()> {
    let first = start(scope, job()?).await?;
    scope.api::<Pod>().delete(&first.pod.name_any(), &DeleteParams::default()).await?;
    goes_on_in_another_pod(scope, first).await
}

pub(crate) async fn a_killed_agent_is_replaced_and_goes_on_from_its_checkpoint(
    scope: &Scope<'_>,
) -> Result<()> {
    let first = start(scope, job()?).await?;
    scope.cluster().kill(&first.pod, "tune")?;
    goes_on_in_another_pod(scope, first).await
}

/// Checks that one pod made all trials, by its log.
fn made_everything(log: &str) -> Result<()> {
    let made = trials_in(log).len();
    ensure!(made == TRIALS as usize, "the pod made {made} trials of {TRIALS}");
    Ok(())
}

async fn is_the_only_pod(scope: &Scope<'_>, pod: &Pod) -> Result<()> {
    let names: Vec<_> = scope.list::<Pod>().await?.iter().map(Pod::name_any).collect();
    ensure!(names == [pod.name_any()], "pods: {names:?}");
    Ok(())
}

pub(crate) async fn a_killed_worker_costs_no_pod(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().kill(&running.pod, "worker")?;
    completes(scope).await?;
    made_everything(&running.log.end().await?)?;
    is_the_only_pod(scope, &running.pod).await
}

pub(crate) async fn a_killed_reporter_costs_no_trial(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().kill(&running.pod, "report")?;
    completes(scope).await?;
    made_everything(&running.log.end().await?)?;
    is_the_only_pod(scope, &running.pod).await
}

pub(crate) async fn a_restarted_kubelet_disturbs_nothing(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().tool("restart", &["kubelet", "--down", "2"])?;
    completes(scope).await?;
    is_the_only_pod(scope, &running.pod).await?;
    // The kubelet serves logs: the one that was followed was cut off.
    let name = running.pod.name_any();
    let words = ["logs", "--namespace", scope.namespace(), &name, "--container", "tune"];
    let log = until("the pod's log", 30, async || scope.cluster().kubectl(&words, None).map(Some)).await?;
    made_everything(&log)
}

pub(crate) async fn a_restarted_etcd_disturbs_nothing(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().tool("restart", &["etcd"])?;
    completes(scope).await?;
    is_the_only_pod(scope, &running.pod).await
}

pub(crate) async fn an_api_server_that_is_away_for_ten_seconds_disturbs_nothing(
    scope: &Scope<'_>,
) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().tool("restart", &["apiserver", "--down", "10"])?;
    completes(scope).await?;
    is_the_only_pod(scope, &running.pod).await
}
