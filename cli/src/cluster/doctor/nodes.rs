//! Which shares do nodes offer, and does the agent on them run?

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

use super::check::Check;
use super::{Operator, PART_OF, Session, all, upgrade};
use crate::cluster::connect::listed;

const NODES: &str = "nodes";
const AGENT: &str = "node agent";
/// Resources of shares begin with this; the percentage follows.
const SHARE: &str = "fractune.dev/mps-";
/// What others call a whole GPU.
const GPU: &str = "nvidia.com/gpu";

pub(super) async fn check(session: &Session, operator: Option<&Operator>) -> Vec<Check> {
    let nodes = all::<Node>(session, "").await;
    let agents = all::<DaemonSet>(session, PART_OF).await;
    let mut checks = Vec::new();
    match &agents {
        Ok(agents) => checks.push(agent(agents, nodes.as_deref().unwrap_or_default(), operator)),
        Err(error) => checks.push(Check::unknown(AGENT, error)),
    }
    match &nodes {
        Ok(nodes) => checks.push(shares(nodes, agents.as_ref().is_ok_and(|agents| !agents.is_empty()))),
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

/// The shares of all nodes.
fn shares(nodes: &[Node], has_agent: bool) -> Check {
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
    let sick: Vec<&str> = offered.values().flat_map(|(.., nodes)| nodes).map(String::as_str).collect();
    if !sick.is_empty() {
        let lost: i64 = offered.values().map(|(all, healthy, _)| all - healthy).sum();
        let message = format!(
            "{start}; {}; {lost} slots are unhealthy (MPS or the GPU failed) on {}",
            words.join(", "),
            listed(&sick)
        );
        return Check::warn(NODES, message, "kubectl describe node NAME, and the node agent's log there");
    }
    Check::ok(NODES, format!("{start}; {}", words.join(", ")))
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
        let found = shares(&[well.clone(), well], true);
        assert_eq!((found.verdict, found.message.as_str()), (Verdict::Ok, "2 of 2 ready; 8 slots of 25 %"));
        let sick = node(&json!({"fractune.dev/mps-50": "2"}), &json!({"fractune.dev/mps-50": "1"}));
        let found = shares(&[sick], true);
        assert!(
            found.verdict == Verdict::Warn && found.message.contains("1 slots are unhealthy"),
            "{found:?}"
        );
    }

    #[test]
    fn a_cluster_without_gpus_is_well_and_one_that_hides_them_is_not() {
        let plain = node(&json!({"cpu": "8"}), &json!({"cpu": "8"}));
        assert_eq!(shares(std::slice::from_ref(&plain), false).verdict, Verdict::Ok);
        assert_eq!(shares(std::slice::from_ref(&plain), true).verdict, Verdict::Warn);
        assert_eq!(shares(&[], false).verdict, Verdict::Fail);
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
