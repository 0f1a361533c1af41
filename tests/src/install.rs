//! The operator and the agent as they are in this checkout, installed in a cluster.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::cluster::{Cluster, repository, run, tool};
use crate::wait::until;

/// Namespace of the operator.
pub const SYSTEM: &str = "fractune-system";
/// Labels of the operator's pods.
pub const OPERATOR_PODS: &str = "app.kubernetes.io/component=operator";
/// Name of the operator's lease, Deployment and service account.
pub const LEASE: &str = "fractune-operator";
/// Image of the agent.
pub const AGENT_IMAGE: &str = "localhost/fractune/agent:test";

/// A cluster with the chart in it.
pub struct Installation {
    /// The cluster.
    pub cluster: Cluster,
    /// The built operator.
    pub operator: PathBuf,
    _images: tempfile::TempDir,
}

impl Installation {
    /// Builds both programs and their images, starts a cluster of two nodes, and installs the chart.
    ///
    /// # Errors
    /// When any of that fails.
    pub async fn start() -> Result<Self> {
        let programs = programs()?;
        let images = tempfile::tempdir()?;
        let (operator, agent) = (programs.join("fractune-operator"), programs.join("fractune-agent"));
        let mut command = Command::new(tool());
        command.arg("images").arg("--operator").arg(&operator).arg("--agent").arg(&agent);
        run(command.arg("--out").arg(images.path()), None)?;
        let archives = ["operator.tar", "agent.tar"].map(|name| images.path().join(name));
        let cluster = Cluster::start(2, &archives).await?;
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": SYSTEM, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        cluster.kubectl(&["create", "-f", "-"], Some(&namespace.to_string()))?;
        let installation = Self { cluster, operator, _images: images };
        installation.helm("install", &[])?;
        Ok(installation)
    }

    /// Installs or upgrades the chart with further values, and waits until its operators are ready.
    ///
    /// # Errors
    /// When helm refuses or they do not get ready.
    pub fn helm(&self, verb: &str, values: &[&str]) -> Result<()> {
        let chart = repository().join("charts/fractune").to_string_lossy().into_owned();
        let own = repository().join("tests/data/cluster/values.yaml").to_string_lossy().into_owned();
        let mut words = vec![verb, "fractune", &chart, "--namespace", SYSTEM, "--values", &own];
        words.extend(["--wait", "--timeout", "60s"]);
        words.extend(values.iter().flat_map(|value| ["--set", *value]));
        self.cluster.helm(&words).map(|_| ())
    }

    /// The operator's pods that are not about to go.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn operators(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), SYSTEM);
        let pods = api.list(&ListParams::default().labels(OPERATOR_PODS)).await?;
        Ok(pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Waits until one operator leads: the state that each test begins in.
    ///
    /// # Errors
    /// When none does.
    pub async fn settled(&self) -> Result<()> {
        until("an operator that leads", 60, async || {
            for pod in self.operators().await? {
                if self.metric(&pod.name_any(), "fractune_leader").await? == Some(1.0) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await
    }

    /// A metric without labels of an operator's pod; none where it has none of that name.
    ///
    /// # Errors
    /// When the pod does not answer.
    pub async fn metric(&self, pod: &str, name: &str) -> Result<Option<f64>> {
        let text = self.get(&format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics")).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.trim().parse().context("a metric's value")).transpose()
    }

    /// What the API server answers to a GET of a path.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn get(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.cluster.client().request_text(request).await?)
    }
}

/// Builds the programs; the folder that they are in.
fn programs() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // What `cargo test --workspace` builds, with the same features, so that little is built twice.
    let mut command = Command::new(cargo);
    // What cargo tells this test of its package would be news to build scripts, and everything built anew.
    let of_this_test = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_TARGET_TMPDIR"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_test)) {
        command.env_remove(name);
    }
    command.current_dir(repository()).args([
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--bins",
        "--tests",
    ]);
    run(&mut command, None).context("building the operator and the agent")?;
    // This test's own program is in target/debug/deps.
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(|deps| deps.parent()).context("no folder of programs")?;
    Ok(folder.to_owned())
}
