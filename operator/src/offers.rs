//! What nodes offer, in words: for jobs whose pods no node can take.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fractune_crds::GROUP;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Nodes are not watched: in a large cluster they change all the time, and hardly ever does a pod wait. What was read is
/// good for so long, for all jobs that wait.
pub const GOOD_FOR: Duration = Duration::from_secs(20);

/// What nodes offered when they were last asked.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    latest: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Offers {
    /// Which shares nodes offer: `nodes offer: node-1: mps-25 x4, 8 CPUs; node-2: no GPU share, 2 CPUs`.
    pub async fn in_words(&self, client: &Client) -> String {
        // Held while nodes are read: others that wait find what was read.
        let mut latest = self.latest.lock().await;
        if let Some((read, words)) = &*latest
            && read.elapsed() < GOOD_FOR
        {
            return words.clone();
        }
        let words = read(client).await;
        *latest = Some((Instant::now(), words.clone()));
        words
    }
}

async fn read(client: &Client) -> String {
    let nodes: Api<Node> = Api::all(client.clone());
    match nodes.list(&ListParams::default()).await {
        Ok(nodes) => in_words(&nodes.items),
        // A namespaced operator may not look at nodes.
        Err(_) => "the operator may not read nodes, so it cannot say what they offer".to_owned(),
    }
}

fn in_words(nodes: &[Node]) -> String {
    /// Nodes that are told of.
    const MOST: usize = 8;
    let prefix = format!("{GROUP}/mps-");
    let words = nodes.iter().take(MOST).map(|node| {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let slots: Vec<String> = allocatable
            .into_iter()
            .flatten()
            .filter_map(|(name, count)| Some((name.strip_prefix(&prefix)?, &count.0)))
            .map(|(share, count)| format!("mps-{share} x{count}"))
            .collect();
        let cpus = allocatable.and_then(|a| a.get("cpu")).map_or("?", |cpus| cpus.0.as_str());
        let slots = if slots.is_empty() { "no GPU share".to_owned() } else { slots.join(", ") };
        format!("{}: {slots}, {cpus} CPUs", node.name_any())
    });
    let mut text = words.collect::<Vec<_>>().join("; ");
    if nodes.len() > MOST {
        let _ = write!(text, "; and {} more nodes", nodes.len() - MOST);
    }
    format!("nodes offer: {}", if text.is_empty() { "there are none".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::script::{Answer, Script, list};

    #[test]
    fn what_nodes_offer_is_told_by_node_and_share() {
        let node = |name: &str, resources: serde_json::Value| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": name}, "status": {"allocatable": resources}
            }))
            .unwrap()
        };
        let nodes = [
            node("gpu-1", json!({"cpu": "8", "fractune.dev/mps-25": "4"})),
            node("cpu-1", json!({"cpu": "2"})),
        ];
        assert_eq!(in_words(&nodes), "nodes offer: gpu-1: mps-25 x4, 8 CPUs; cpu-1: no GPU share, 2 CPUs");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_asked_again_when_what_they_said_is_old_and_not_before() {
        let script = Script::new(|asked, before| {
            let mut resources = json!({"cpu": "8"});
            if before > 0 {
                resources["fractune.dev/mps-25"] = json!("4");
            }
            let node = json!({"metadata": {"name": "gpu-1"}, "status": {"allocatable": resources}});
            asked.uri.contains("nodes").then(|| Answer::Is(200, list("Node", &[node])))
        });
        let offers = Offers::default();
        for _ in 0..3 {
            assert!(offers.in_words(&script.client).await.contains("no GPU share"));
        }
        assert_eq!(script.asked().len(), 1);
        tokio::time::advance(GOOD_FOR).await;
        assert!(offers.in_words(&script.client).await.contains("mps-25 x4"));
    }
}
