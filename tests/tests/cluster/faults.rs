//! Whatever dies on the way: no trial that was checkpointed is made again, none is lost, nothing is there twice.

use anyhow::{Result, ensure};
use fractune_crds::TuneTask;
use fractune_tests::{Checkpoint, Follow, Scope, resumed_in, trials_in, until};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, EvictParams};

use crate::running::{JOB, Running, TASK, TRIALS, completes, job, start};

/// Waits for a second pod; checks that it goes on from the checkpoint that the first one left, and ends. Returns what
/// the first pod's log tells of, what it left, and the second pod.
async fn goes_on_in_another_pod(scope: &Scope<'_>, first: Running) -> Result<(Told, Checkpoint, Pod)> {
    let api = scope.api::<Pod>();
    until("the first pod's end", 90, async || {
        let pod = api.get_opt(&first.pod.name_any()).await?;
        let phase = pod.map(|pod| pod.status.and_then(|status| status.phase).unwrap_or_default());
        Ok(phase.is_none_or(|phase| phase == "Failed" || phase == "Succeeded").then_some(()))
    })
    .await?;
    // The next pod takes a while to start: nothing else has written in the meantime.
    let left = Checkpoint::of(&scope.api::<TuneTask>().get(TASK).await?)?;
    ensure!(!left.0.is_empty(), "the first pod left no checkpoint");
    let second = scope.pod(JOB, 0, &[&first.pod]).await?;
    let log = Follow::start(scope, &second.name_any())?;
    let before = trials_in(&first.log.end().await?);
    let task = completes(scope).await?;
    let log = log.end().await?;
    let after = trials_in(&log);
    left.is_kept_in(&Checkpoint::of(&task)?)?;
    ensure!(resumed_in(&log) == Some(left.0.len()), "{:?} of {}", resumed_in(&log), left.0.len());
    for (number, told) in before.iter().filter(|(number, _)| left.0.contains_key(number)) {
        let now = after.get(number);
        ensure!(now == Some(told), "trial {number} was {told}, and in the next pod {now:?}");
    }
    ensure!(after.len() == TRIALS as usize && left.0.len() < after.len(), "{} trials", after.len());
    Ok((before, left, second))
}

/// Trials of a log.
type Told = std::collections::BTreeMap<u64, String>;

/// Checks that everything that was made was stored before the first pod ended.
fn nothing_is_lost(before: &Told, left: &Checkpoint) -> Result<()> {
    let lost: Vec<_> = before.keys().filter(|number| !left.0.contains_key(number)).collect();
    ensure!(lost.is_empty(), "trials {lost:?} were made, and are not in the checkpoint");
    Ok(())
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

pub(crate) async fn a_deleted_pod_is_replaced_and_goes_on_from_its_checkpoint(
    scope: &Scope<'_>,
) -> Result<()> {
    let first = start(scope, job()?).await?;
    scope.api::<Pod>().delete(&first.pod.name_any(), &DeleteParams::default()).await?;
    let (before, left, _) = goes_on_in_another_pod(scope, first).await?;
    nothing_is_lost(&before, &left)
}

pub(crate) async fn the_pod_of_a_drained_node_goes_on_on_another_one(scope: &Scope<'_>) -> Result<()> {
    let first = start(scope, job()?).await?;
    let drained = node(&first.pod).to_owned();
    scope.cluster().kubectl(&["cordon", &drained], None)?;
    let result = async {
        scope.api::<Pod>().evict(&first.pod.name_any(), &EvictParams::default()).await?;
        goes_on_in_another_pod(scope, first).await
    };
    let result = result.await;
    scope.cluster().kubectl(&["uncordon", &drained], None)?;
    let (before, left, second) = result?;
    nothing_is_lost(&before, &left)?;
    ensure!(node(&second) != drained, "both pods ran on {drained}");
    Ok(())
}

pub(crate) async fn a_killed_agent_is_replaced_and_goes_on_from_its_checkpoint(
    scope: &Scope<'_>,
) -> Result<()> {
    let first = start(scope, job()?).await?;
    scope.cluster().kill(&first.pod, &["tune"])?;
    let (before, left, _) = goes_on_in_another_pod(scope, first).await?;
    nothing_is_lost(&before, &left)
}

pub(crate) async fn a_pod_that_vanishes_costs_only_what_was_not_checkpointed(
    scope: &Scope<'_>,
) -> Result<()> {
    let first = start(scope, job()?).await?;
    scope.trials(TASK, 1, 30).await?;
    // As when a node loses power: nobody has time for last words.
    scope.cluster().kill(&first.pod, &["tune", "report"])?;
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    scope.api::<Pod>().delete(&first.pod.name_any(), &at_once).await?;
    goes_on_in_another_pod(scope, first).await.map(|_| ())
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
    scope.cluster().kill(&running.pod, &["worker"])?;
    completes(scope).await?;
    made_everything(&running.log.end().await?)?;
    is_the_only_pod(scope, &running.pod).await
}

pub(crate) async fn a_killed_reporter_costs_no_trial(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    scope.cluster().kill(&running.pod, &["report"])?;
    completes(scope).await?;
    made_everything(&running.log.end().await?)?;
    is_the_only_pod(scope, &running.pod).await
}

pub(crate) async fn a_restarted_kubelet_disturbs_nothing(scope: &Scope<'_>) -> Result<()> {
    let running = start(scope, job()?).await?;
    let number = node(&running.pod).trim_start_matches("node-");
    scope.cluster().tool("restart", &["kubelet", "--node", number, "--down", "2"])?;
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
