//! What the node's labels say of its GPUs, so that jobs can be kept to a product or off simulated nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fractune_crds::{GROUP, managers};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::gpu::{Gpu, label_value};

/// What a label says where the node's GPUs differ.
const MIXED: &str = "mixed";
/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to wait after a refusal, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// How often the labels are written again: somebody may have removed them, and nobody watches.
const AGAIN: Duration = Duration::from_mins(10);

/// The labels of a node with these GPUs.
#[must_use]
pub fn labels(gpus: &[Gpu]) -> BTreeMap<String, String> {
    let simulated = gpus.iter().any(|gpu| gpu.driver.is_none());
    let one = |of: &dyn Fn(&Gpu) -> Option<String>| {
        let values: BTreeSet<String> = gpus.iter().filter_map(of).filter(|value| !value.is_empty()).collect();
        let several = values.len() > 1;
        values.into_iter().next().map(|value| if several { MIXED.to_owned() } else { value })
    };
    let known = [
        ("gpu-product", one(&|gpu| Some(gpu.label()))),
        ("gpu-count", Some(gpus.len().to_string())),
        ("sms", one(&|gpu| (gpu.sms > 0).then(|| gpu.sms.to_string()))),
        ("driver", one(&|gpu| gpu.driver.as_deref().map(label_value))),
        ("simulated", Some(simulated.to_string())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((format!("{GROUP}/{name}"), value?))).collect()
}

/// Writes the labels to the node, and again now and then, until the future is dropped. What they replace is only what was
/// written by the same manager.
pub(super) async fn keep(node: &str, labels: &BTreeMap<String, String>) {
    let mut retry = FIRST_RETRY;
    let mut told = false;
    loop {
        match timeout(ANSWER, write(node, labels))
            .await
            .unwrap_or_else(|_| Err(format!("nothing within {ANSWER:?}")))
        {
            Ok(()) => {
                if !told {
                    info!(node, ?labels, "the node is labelled");
                }
                (told, retry) = (true, FIRST_RETRY);
                sleep(AGAIN).await;
            }
            Err(error) => {
                warn!(node, "the node's labels are not written: {error}; trying again in {retry:?}");
                sleep(retry).await;
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

async fn write(node: &str, labels: &BTreeMap<String, String>) -> Result<(), String> {
    let mut config = Config::infer().await.map_err(|error| error.to_string())?;
    config.default_retry = false;
    let api: Api<Node> = Api::all(Client::try_from(config).map_err(|error| error.to_string())?);
    let patch = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}});
    let parameters = PatchParams::apply(managers::NODE).force();
    // Only what this writes is asked back for: the whole node is large.
    let written = api.patch_metadata(node, &parameters, &Patch::Apply(patch)).await;
    written.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::super::gpu::simulated;
    use super::*;

    fn texts(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_nodes_labels_say_what_its_gpus_are() {
        let labels = labels(&h200s(2));
        let expected = [
            ("fractune.dev/driver", "580.159.04"),
            ("fractune.dev/gpu-count", "2"),
            ("fractune.dev/gpu-product", "NVIDIA-H200"),
            ("fractune.dev/simulated", "false"),
            ("fractune.dev/sms", "132"),
        ];
        assert_eq!(texts(&labels), expected);
    }

    #[test]
    fn a_simulation_is_called_one_and_names_no_driver() {
        let labels = labels(&simulated("NVIDIA-H200:2").unwrap());
        assert_eq!(labels["fractune.dev/simulated"], "true");
        assert!(!labels.contains_key("fractune.dev/driver"));
    }

    #[test]
    fn where_gpus_differ_the_label_says_so() {
        let mut gpus = h200s(2);
        gpus[1].product = "NVIDIA A100".to_owned();
        gpus[1].sms = 108;
        let labels = labels(&gpus);
        assert_eq!(
            (labels["fractune.dev/gpu-product"].as_str(), labels["fractune.dev/sms"].as_str()),
            ("mixed", "mixed")
        );
    }
}
