//! The agent of GPU nodes before the real kubelet, with simulated GPUs: slots are offered and given, said to be simulated,
//! and there again when kubelet or the agent was started again; and its token labels its own node and nothing else.

use anyhow::{Context as _, Result, ensure};
use fractune_crds::conditions::reason;
use fractune_tests::{Fixture, SYSTEM, Scope, until};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::running::JOB;

const RESOURCE: &str = "fractune.dev/mps-25";
/// Two GPUs on each node, and the chart's own layout: four slots on each.
const SLOTS: &str = "8";
const PODS: &str = "app.kubernetes.io/component=node";

/// Has the agents run for as long as the test does.
async fn with_agents(scope: &Scope<'_>, test: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let security = |level: &str| {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        scope.cluster().kubectl(&["label", "namespace", SYSTEM, &label, "--overwrite"], None)
    };
    // Folders of the node are more than the restricted standard allows.
    security("privileged")?;
    let enabled = scope.installation().helm("upgrade", &["node.enabled=true", "node.simulate=NVIDIA-H200:2"]);
    let tested = match enabled {
        Ok(()) => test().await,
        Err(error) => Err(error),
    };
    let logs = scope.cluster().kubectl(&["logs", "-n", SYSTEM, "-l", PODS, "--prefix", "--tail=40"], None);
    let tested = tested.with_context(|| format!("the agents said:\n{}", logs.unwrap_or_default()));
    scope.installation().helm("upgrade", &[])?;
    until("the agents' end", 60, async || Ok(agents(scope).await?.is_empty().then_some(()))).await?;
    security("restricted")?;
    tested
}

async fn agents(scope: &Scope<'_>) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(scope.cluster().client(), SYSTEM);
    Ok(api.list(&ListParams::default().labels(PODS)).await?.items)
}

async fn agent_on(scope: &Scope<'_>, node: &str) -> Result<Pod> {
    let on = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    agents(scope).await?.into_iter().find(on).with_context(|| format!("no agent on {node}"))
}

async fn node(scope: &Scope<'_>, name: &str) -> Result<Node> {
    Ok(Api::<Node>::all(scope.cluster().client()).get(name).await?)
}

fn allocatable(node: &Node) -> Option<&str> {
    let quantities = node.status.as_ref()?.allocatable.as_ref()?;
    quantities.get(RESOURCE).map(|quantity| quantity.0.as_str())
}

async fn offers(scope: &Scope<'_>, name: &str, slots: &str) -> Result<()> {
    until(&format!("{slots} slots on {name}"), 60, async || {
        let node = node(scope, name).await?;
        Ok((allocatable(&node) == Some(slots)).then_some(()))
    })
    .await
}

/// How often kubelet has taken the resource of the agent of this pod.
async fn registrations(scope: &Scope<'_>, pod: &Pod) -> Result<u32> {
    let name = pod.name_any();
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8082/proxy/metrics");
    let text = scope.installation().get(&path).await?;
    let metric = format!("fractune_kubelet_registrations_total{{resource=\"{RESOURCE}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&metric));
    Ok(count.context("no such metric")?.parse()?)
}

pub(crate) async fn a_job_on_a_simulated_slot_is_told_that_it_is_simulated(scope: &Scope<'_>) -> Result<()> {
    with_agents(scope, async || {
        for name in ["node-1", "node-2"] {
            offers(scope, name, SLOTS).await?;
            until("the node's labels", 30, async || {
                let labels = node(scope, name).await?.metadata.labels.unwrap_or_default();
                let is = |label: &str, value: &str| labels.get(label).is_some_and(|found| found == value);
                let all = is("fractune.dev/simulated", "true")
                    && is("fractune.dev/gpu-product", "NVIDIA-H200")
                    && is("fractune.dev/gpu-count", "2");
                Ok(all.then_some(()))
            })
            .await?;
        }
        let job = Fixture::new("saxpy-cuda", JOB)?.with("/spec/shares", serde_json::json!([25]));
        scope.apply(&job)?;
        let message = scope.stalled(JOB, reason::DEVICE_UNAVAILABLE, 90).await?;
        for words in ["saxpy/small", "is simulated", "NVIDIA-H200", "fractune.dev/simulated"] {
            ensure!(message.contains(words), "{words:?} is not said in: {message}");
        }
        Ok(())
    })
    .await
}

pub(crate) async fn slots_are_back_when_kubelet_or_the_agent_was_started_again(
    scope: &Scope<'_>,
) -> Result<()> {
    with_agents(scope, async || {
        offers(scope, "node-1", SLOTS).await?;
        let agent = agent_on(scope, "node-1").await?;
        ensure!(registrations(scope, &agent).await? == 1);
        scope.cluster().tool("restart", &["kubelet", "--node", "1"])?;
        until("another registration", 60, async || {
            Ok((registrations(scope, &agent).await? == 2).then_some(()))
        })
        .await?;
        offers(scope, "node-1", SLOTS).await?;

        scope.cluster().kill(&agent, &["node"])?;
        until("the agent's next life", 60, async || {
            let pod = agent_on(scope, "node-1").await?;
            let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            Ok(statuses.iter().any(|status| status.restart_count > 0 && status.ready).then_some(()))
        })
        .await?;
        offers(scope, "node-1", SLOTS).await
    })
    .await
}

pub(crate) async fn an_agents_token_labels_its_own_node_and_nothing_else(scope: &Scope<'_>) -> Result<()> {
    with_agents(scope, async || {
        let agent = agent_on(scope, "node-1").await?;
        let (name, uid) = (agent.name_any(), agent.uid().unwrap_or_default());
        let kubectl = |words: &[&str]| scope.cluster().kubectl(words, None);
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &name, "--bound-object-uid", &uid];
        let create = ["create", "token", "fractune-node", "-n", SYSTEM];
        let token = kubectl(&[&create[..], &bound[..]].concat())?;
        let unbound = kubectl(&create)?;
        let (bound, unbound) = (client(scope, &token).await?, client(scope, &unbound).await?);
        let own = json!({"metadata": {"labels": {"fractune.dev/sms": "132"}}});
        patch(&bound, "node-1", &own).await.context("its own label on its own node")?;
        let attempts = [
            (&bound, "node-2", own.clone(), "bound to node node-1, not node-2"),
            (&unbound, "node-1", own, "bound to no node"),
            (
                &bound,
                "node-1",
                json!({"metadata": {"labels": {"other/label": "x"}}}),
                "no labels but fractune.dev",
            ),
            (
                &bound,
                "node-1",
                json!({"metadata": {"labels": {"kubernetes.io/hostname": null}}}),
                "no labels but fractune.dev",
            ),
            (
                &bound,
                "node-1",
                json!({"metadata": {"annotations": {"a": "b"}}}),
                "nothing of a node but its labels",
            ),
            (&bound, "node-1", json!({"spec": {"unschedulable": true}}), "nothing of a node but its labels"),
        ];
        for (client, node, change, words) in attempts {
            let refused = match patch(client, node, &change).await {
                Ok(()) => anyhow::bail!("{change} on {node} was taken"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(refused.contains(words), "{words:?} is not said in: {refused}");
        }
        let rights = ["auth", "can-i", "--as", "system:serviceaccount:fractune-system:fractune-node"];
        for other in [["get", "nodes"], ["patch", "pods"], ["get", "secrets"]] {
            let said = scope.cluster().kubectl(&[&rights[..], &other[..]].concat(), None);
            ensure!(!said.is_ok_and(|said| said.trim() == "yes"), "it may {other:?}");
        }
        Ok(())
    })
    .await
}

async fn client(scope: &Scope<'_>, token: &str) -> Result<Client> {
    scope.cluster().client_with_token(token.trim()).await
}

/// A change of a node as the agent makes it: kubectl would read the node first, which the agent may not.
async fn patch(client: &Client, node: &str, change: &Value) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    api.patch_metadata(node, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}
