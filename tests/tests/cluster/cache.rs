//! Pods that share compiled kernels, on a volume of one node.

use anyhow::{Context as _, Result, ensure};
use fractune_crds::{State, TuneTask};
use fractune_tests::{Checkpoint, Fixture, Scope};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

/// Where the volume is on the first node.
const FOLDER: &str = "/var/lib/kernels";
/// Where the pods keep entries in it.
const ENTRIES: &str = "/var/lib/kernels/fractune-cache";
const CLAIM: &str = "kernels";

pub(crate) async fn what_one_pod_compiled_no_other_one_compiles_again(scope: &Scope<'_>) -> Result<()> {
    let volume = claim(scope)?;
    let result = share(scope).await;
    // A volume is nobody's namespace's.
    let api: Api<PersistentVolume> = Api::all(scope.cluster().client());
    api.delete(&volume, &DeleteParams::default()).await?;
    result
}

/// A job in which every configuration is tried, of a kernel that gets its sizes when it runs.
fn job(name: &str) -> Result<Fixture> {
    let job = Fixture::new("saxpy", name)?.trials(4);
    let parameters =
        [json!({"name": "BLOCK", "values": [64, 128]}), json!({"name": "LANES", "values": [1, 2]})];
    Ok(job
        .with("/spec/template/cache/persistentVolumeClaim", CLAIM)
        .with("/spec/kernels/0/parameters", parameters.to_vec()))
}

async fn share(scope: &Scope<'_>) -> Result<()> {
    let large = json!({"name": "large", "sizes": {"len": 20_000, "rounds": 1}});
    scope.apply(&job("first")?.with("/spec/kernels/0/problems/-", large))?;
    scope.state("first", State::Complete, 120).await?;
    let (small, large) = (compiled(scope, "first-0").await?, compiled(scope, "first-1").await?);
    ensure!((small, large) == (4, 0), "{small} of 4 were compiled, and for the next problem {large}");

    scope.apply(&job("second")?.with("/spec/kernels/0/problems/0/sizes/len", 5000))?;
    scope.state("second", State::Complete, 120).await?;
    let second = compiled(scope, "second-0").await?;
    ensure!(second == 0, "{second} of 4 were compiled in another job");

    let entries = on_the_node(scope, &format!("ls {ENTRIES} | wc -l; truncate -s 300 {ENTRIES}/*.kernel"))?;
    ensure!(entries.trim() == "5", "{entries} entries for four configurations and the reference");
    scope.apply(&job("third")?)?;
    scope.state("third", State::Complete, 120).await?;
    let third = compiled(scope, "third-0").await?;
    ensure!(third == 4, "{third} of 4 were compiled after all had been cut off");
    Ok(())
}

/// How many of a task's trials were compiled. All four have run, and were verified.
async fn compiled(scope: &Scope<'_>, task: &str) -> Result<usize> {
    let task = scope.api::<TuneTask>().get(task).await?;
    let trials = Checkpoint::of(&task)?.0;
    ensure!(trials.len() == 4, "{trials:?}");
    ensure!(trials.values().all(|trial| trial["outcome"] == "Ok"), "{trials:?}");
    let times = trials.values().map(|trial| trial["compileNs"].as_u64().context("no compile time"));
    let times = times.collect::<Result<Vec<_>>>()?;
    Ok(times.into_iter().filter(|&time| time > 0).count())
}

/// A volume that is a folder of the first node, and the claim of it; the volume's name.
fn claim(scope: &Scope<'_>) -> Result<String> {
    on_the_node(scope, &format!("mkdir -p {FOLDER}"))?;
    let name = format!("kernels-{}", scope.namespace());
    let first_node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]});
    scope.apply_value(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "node-local",
            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": FOLDER},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [first_node]}]}},
            "claimRef": {"namespace": scope.namespace(), "name": CLAIM},
        },
    }))?;
    scope.apply_value(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "node-local", "volumeName": name,
            "resources": {"requests": {"storage": "2Gi"}},
        },
    }))?;
    Ok(name)
}

fn on_the_node(scope: &Scope<'_>, script: &str) -> Result<String> {
    scope.cluster().tool("enter", &["--node", "1", "--", "sh", "-c", script])
}
