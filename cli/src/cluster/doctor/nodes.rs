//! Which shares do nodes offer, and does the agent on them run?

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::check::Check;
use super::{Operator, PART_OF, Session, all, text, upgrade};
use crate::cluster::connect::listed;

const NODES: &str = "nodes";
const AGENT: &str = "node agent";
/// Resources of shares begin with this; the percentage follows.
const SHARE: &str = "fractune.dev/mps-";
/// Labels of the agents' pods.
const AGENTS: &str = "app.kubernetes.io/part-of=fractune,app.kubernetes.io/component=node";
/// What others call a whole GPU.
const GPU: &str = "nvidia.com/gpu";

pub(super) async fn check(session: &Session, operator: Option<&Operator>) -> Vec<Check> {
    let nodes = all::<Node>(session, "").await;
    let agents = all::<DaemonSet>(session, PART_OF).await;
    let pods = all::<Pod>(session, AGENTS).await.ok().map(|pods| ready_agents(&pods));
    let mut checks = Vec::new();
    match &agents {
        Ok(agents) => checks.push(agent(agents, nodes.as_deref().unwrap_or_default(), operator)),
        Err(error) => checks.push(Check::unknown(AGENT, error)),
    }
    match &nodes {
        Ok(nodes) => {
            checks.push(shares(nodes, agents.as_ref().is_ok_and(|agents| !agents.is_empty()), pods.as_ref()));
            checks.extend(cordoned(nodes));
        }
        Err(error) => checks.push(Check::unknown(NODES, error)),
    }
    checks
}

/// The agent on GPU nodes, which offers their shares.
fn agent(agents: &[DaemonSet], nodes: &[Node], operator: Option<&Operator>) -> Check {
    let Some(set) = agents.first() else {
        let with_gpus = nodes.iter().filter(|node| count(node, GPU).0 > 0).count();
        if with_gpus > 0 {
            let message = format!(
                "not installed, but {with_gpus} of {} nodes have GPUs: their shares are not offered",
                nodes.len()
            );
            let fix = operator.map_or_else(|| crate::cluster::error::INSTALL.to_owned(), upgrade);
            return Check::warn(AGENT, message, format!("{fix} --set node.enabled=true"));
        }
        return Check::ok(AGENT, "not installed: only kernels in C can be tuned here");
    };
    let (name, namespace) = (set.name_any(), set.namespace().unwrap_or_default());
    let status = set.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    let version = set.labels().get("app.kubernetes.io/version").cloned().unwrap_or_default();
    let message = format!("{namespace}/{name}: ready on {ready} of {wanted} nodes");
    if ready < wanted {
        let fix = format!("kubectl get pods --namespace {namespace} -o wide | grep {name}");
        return Check::fail(AGENT, message, fix);
    }
    if wanted == 0 {
        let fix = format!(
            "kubectl get daemonset {name} --namespace {namespace} -o jsonpath={{.spec.template.spec.nodeSelector}}"
        );
        return Check::warn(
            AGENT,
            format!("{namespace}/{name} is for no node: none has the labels that it asks for"),
            fix,
        );
    }
    if let Some(operator) = operator.filter(|operator| operator.version != version) {
        let message = format!("{message}, version {version}; the operator is version {}", operator.version);
        return Check::warn(AGENT, message, upgrade(operator));
    }
    Check::ok(AGENT, format!("{message}, version {version}"))
}

/// How many of a resource a node has, and how many of these it can give away.
fn count(node: &Node, resource: &str) -> (i64, i64) {
    let Some(status) = &node.status else { return (0, 0) };
    let of = |all: &Option<BTreeMap<String, Quantity>>| {
        all.as_ref().and_then(|all| all.get(resource)?.0.parse::<i64>().ok()).unwrap_or(0)
    };
    (of(&status.capacity), of(&status.allocatable))
}

/// Namespace and name of the agent that is ready on a node, by the node's name.
fn ready_agents(pods: &[Pod]) -> BTreeMap<String, (String, String)> {
    let is_ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let place = |pod: &Pod| {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        Some((node, (pod.namespace().unwrap_or_default(), pod.name_any())))
    };
    pods.iter().filter(is_ready).filter_map(place).collect()
}

/// Nodes that new pods keep away from, because somebody said so.
fn cordoned(nodes: &[Node]) -> Option<Check> {
    let is_cordoned = |node: &&Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let names: Vec<String> = nodes.iter().filter(is_cordoned).map(ResourceExt::name_any).collect();
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        let message =
            format!("{} of {} cordoned: no new pod can go to {}", names.len(), nodes.len(), listed(&words));
        Check::warn(NODES, message, format!("kubectl uncordon {}", names.join(" ")))
    })
}

/// The shares of all nodes. `agents` are those that are ready, where that can be told.
fn shares(nodes: &[Node], has_agent: bool, agents: Option<&BTreeMap<String, (String, String)>>) -> Check {
    let ready = nodes.iter().filter(|node| is_ready(node)).count();
    let mut offered: BTreeMap<u8, (i64, i64, Vec<String>)> = BTreeMap::new();
    for node in nodes {
        let capacity = node.status.as_ref().and_then(|status| status.capacity.clone()).unwrap_or_default();
        for resource in capacity.keys().filter(|name| name.starts_with(SHARE)) {
            let Ok(share) = resource.trim_start_matches(SHARE).parse() else { continue };
            let (all, healthy) = count(node, resource);
            let entry = offered.entry(share).or_default();
            entry.0 += all;
            entry.1 += healthy;
            if healthy < all {
                entry.2.push(node.name_any());
            }
        }
    }
    let start = format!("{ready} of {} ready", nodes.len());
    if ready == 0 {
        return Check::fail(NODES, format!("{start}: no pod can run"), "kubectl get nodes");
    }
    if offered.values().all(|(all, ..)| *all == 0) {
        let message = format!("{start}; none offers shares of a GPU");
        // Without an agent that is as it should be.
        return if has_agent {
            Check::warn(NODES, message, "kubectl get nodes -L fractune.dev/gpu-product")
        } else {
            Check::ok(NODES, message)
        };
    }
    let words: Vec<String> =
        offered.iter().map(|(share, (_, healthy, _))| format!("{healthy} slots of {share} %")).collect();
    let sick: BTreeSet<&str> = offered.values().flat_map(|(.., nodes)| nodes).map(String::as_str).collect();
    let Some(first) = sick.first() else {
        return Check::ok(NODES, format!("{start}; {}", words.join(", ")));
    };
    let lost: i64 = offered.values().map(|(all, healthy, _)| all - healthy).sum();
    let lost = text::count(lost, "slot");
    let has_one = |node: &&&str| agents.is_none_or(|agents| agents.contains_key(**node));
    let (served, left): (Vec<&str>, Vec<&str>) = sick.iter().partition(has_one);
    let mut why = Vec::new();
    if !served.is_empty() {
        why.push(format!("MPS or the GPU failed on {}", listed(&served)));
    }
    if !left.is_empty() {
        why.push(format!(
            "left on {} by a node agent that is gone, until kubelet drops them after five minutes",
            listed(&left)
        ));
    }
    let message = format!("{start}; {}; {lost} unhealthy: {}", words.join(", "), why.join("; "));
    let log = served.first().and_then(|node| agents?.get(*node));
    let fix = match log {
        Some((namespace, pod)) => format!("kubectl logs --namespace {namespace} {pod} --tail=50"),
        None => format!("kubectl describe node {}", served.first().unwrap_or(first)),
    };
    Check::warn(NODES, message, fix)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check::Verdict;
    use super::super::operator::tests::installed;
    use super::*;

    fn node(capacity: &Value, allocatable: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "status": {
            "capacity": capacity, "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}]}}))
        .unwrap()
    }

    fn set(wanted: i32, ready: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "fractune-node", "namespace": "fractune",
                "labels": {"app.kubernetes.io/version": env!("CARGO_PKG_VERSION")}},
            "status": {"desiredNumberScheduled": wanted, "numberReady": ready, "currentNumberScheduled": wanted,
                "numberMisscheduled": 0}}))
        .unwrap()
    }

    #[test]
    fn shares_are_added_up_and_sick_ones_are_told() {
        let well =
            node(&json!({"fractune.dev/mps-25": "4", "cpu": "8"}), &json!({"fractune.dev/mps-25": "4"}));
        let found = shares(&[well.clone(), well], true, None);
        assert_eq!((found.verdict, found.message.as_str()), (Verdict::Ok, "2 of 2 ready; 8 slots of 25 %"));
        let sick = node(&json!({"fractune.dev/mps-50": "2"}), &json!({"fractune.dev/mps-50": "1"}));
        let pod = json!({"metadata": {"name": "fractune-node-a", "namespace": "fractune"},
            "spec": {"nodeName": "n1", "containers": []}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let mut starting = pod.clone();
        starting["status"] = json!({});
        let agents = |pod: &Value| ready_agents(&[serde_json::from_value(pod.clone()).unwrap()]);
        let of = |agents: Option<BTreeMap<String, (String, String)>>| {
            shares(std::slice::from_ref(&sick), true, agents.as_ref())
        };
        let found = of(Some(agents(&pod)));
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.message.ends_with("1 slot unhealthy: MPS or the GPU failed on n1"), "{found:?}");
        assert_eq!(found.fix.as_deref(), Some("kubectl logs --namespace fractune fractune-node-a --tail=50"));
        let found = of(None);
        assert!(found.message.contains("MPS or the GPU failed on n1"), "who may not look at pods: {found:?}");
        for gone in [agents(&starting), BTreeMap::new()] {
            let found = of(Some(gone));
            assert!(found.message.contains("left on n1 by a node agent that is gone"), "{found:?}");
            assert!(!found.message.contains("failed"), "{found:?}");
            assert_eq!(found.fix.as_deref(), Some("kubectl describe node n1"));
        }
    }

    #[test]
    fn a_node_that_takes_no_pods_is_told_with_its_name() {
        let mut node = node(&json!({"cpu": "8"}), &json!({"cpu": "8"}));
        assert_eq!(cordoned(std::slice::from_ref(&node)), None);
        node.spec = serde_json::from_value(json!({"unschedulable": true})).unwrap();
        let found = cordoned(&[node]).unwrap();
        assert_eq!(found.verdict, Verdict::Warn);
        assert_eq!(found.message, "1 of 1 cordoned: no new pod can go to n1");
        assert_eq!(found.fix.as_deref(), Some("kubectl uncordon n1"));
    }

    #[test]
    fn a_cluster_without_gpus_is_well_and_one_that_hides_them_is_not() {
        let plain = node(&json!({"cpu": "8"}), &json!({"cpu": "8"}));
        assert_eq!(shares(std::slice::from_ref(&plain), false, None).verdict, Verdict::Ok);
        assert_eq!(shares(std::slice::from_ref(&plain), true, None).verdict, Verdict::Warn);
        assert_eq!(shares(&[], false, None).verdict, Verdict::Fail);
        assert_eq!(agent(&[], &[plain], Some(&installed())).verdict, Verdict::Ok);
        let gpu = node(&json!({"nvidia.com/gpu": "8"}), &json!({"nvidia.com/gpu": "8"}));
        let found = agent(&[], &[gpu], Some(&installed()));
        assert!(
            found.verdict == Verdict::Warn && found.message.contains("1 of 1 nodes have GPUs"),
            "{found:?}"
        );
    }

    #[test]
    fn an_agent_that_is_not_ready_everywhere_fails() {
        assert_eq!(agent(&[set(3, 3)], &[], Some(&installed())).verdict, Verdict::Ok);
        assert_eq!(agent(&[set(3, 2)], &[], Some(&installed())).verdict, Verdict::Fail);
        assert_eq!(agent(&[set(0, 0)], &[], Some(&installed())).verdict, Verdict::Warn);
        let mut newer = installed();
        newer.version = "9.9.9".to_owned();
        assert_eq!(agent(&[set(1, 1)], &[], Some(&newer)).verdict, Verdict::Warn);
    }
}
